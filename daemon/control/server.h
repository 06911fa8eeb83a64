/* The Varlink server: listening sockets, admission of peers, and the interfaces that it serves. It
 * knows no method of its own but org.varlink.service.
 *
 * What ends a connection, and no other: bytes that are no Varlink call (then what was answered
 * before is still sent), a call longer than 64 KiB, a stall, and the peer's hang-up. A half-close
 * ends it when the calls that came before are answered. A peer that finds no place is hung up on at
 * once: it has made no call that an error could answer. */
#pragma once

#include "daemon/control/varlink_service.h"

#include <event2/event.h>
#include <stdint.h>

struct server_limits {
    uint64_t max_connections;
    uint64_t max_connections_per_user; /* root has none */
};

enum {
    SERVER_CONNECTIONS_DEFAULT = 256,
    SERVER_CONNECTIONS_PER_USER_DEFAULT = 32,
    SERVER_ROOT_CONNECTIONS = 4, /* places kept for root beyond max_connections */
    SERVER_STALL_USEC = 10 * 1000 * 1000
};

struct server_stats {
    uint64_t n_connections; /* open now */
    uint64_t n_requests, n_errors;
    uint64_t
        n_refused; /* peers that were hung up on at once: no place, or no memory or descriptor */
};

struct server;

/* `base` needs EV_FEATURE_ET and EV_FEATURE_EARLY_CLOSE. `interfaces` ends with a NULL name; it and
 * `info` are borrowed for the server's life. 0 or a negative errno. */
int server_new(struct event_base *base, const struct interface *interfaces,
               const struct server_info *info, struct server **ret);
/* Stops listening, cancels every call and closes every connection. Not from a method. */
struct server *server_free(struct server *server);

void server_set_limits(struct server *server, const struct server_limits *limits);
void server_set_rules(struct server *server, const struct peer_rules *rules);

/* How long a peer may take from a message's first byte to its NUL, and how long it may take no byte
 * of pending output, before its connection is closed. SERVER_STALL_USEC unless set. */
void server_set_stall(struct server *server, uint64_t stall_usec);

/* Takes a listening socket, or one that is already connected. 0 or a negative errno; the
 * descriptor is closed on failure. */
int server_listen(struct server *server, int fd);
int server_adopt(struct server *server, int fd);

/* Called when an adopted connection has ended (a simulation then has no more user), not by
 * server_free. */
void server_on_adopted_end(struct server *server, void (*ended)(void *context), void *context);

void server_get_stats(const struct server *server, struct server_stats *ret);
