/* The Varlink server: listening sockets, admission of peers, and the interfaces that it serves. It
 * knows no method of its own but org.varlink.service. */
#pragma once

#include "daemon/call.h"

#include <event2/event.h>
#include <stdint.h>

struct server_limits {
    uint64_t max_connections;
    uint64_t max_connections_per_user;
};

enum {
    SERVER_TURN_MESSAGES = 32,           /* a connection and loop turn */
    SERVER_STALL_USEC = 10 * 1000 * 1000, /* from a message's first byte to its NUL; and without a byte
                                             taken while output is pending */
    SERVER_ROOT_CONNECTIONS = 4          /* places kept for root beyond max_connections */
};

struct server_info {
    const char *vendor, *product, *version, *url; /* static storage */
};

struct server_stats {
    uint64_t n_connections; /* open now */
    uint64_t n_requests, n_errors;
};

struct server;

/* `interfaces` ends with a NULL name; it and `info` are borrowed for the server's life. */
int server_new(struct event_base *base, const struct interface *interfaces,
               const struct server_info *info, struct server **ret);
/* Stops listening, cancels every call and closes every connection. */
struct server *server_free(struct server *server);

void server_set_limits(struct server *server, const struct server_limits *limits);
void server_set_rules(struct server *server, const struct peer_rules *rules);

/* Takes a listening socket, or one that is already connected. 0 or a negative errno; the
 * descriptor is closed on failure. */
int server_listen(struct server *server, int fd);
int server_adopt(struct server *server, int fd);

/* Called when an adopted connection has ended (a simulation then has no more user). */
void server_on_adopted_end(struct server *server, void (*ended)(void *context), void *context);

void server_get_stats(const struct server *server, struct server_stats *ret);
