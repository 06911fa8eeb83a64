/* The Varlink server: its listening sockets, the admission of peers, and the interfaces that it
 * serves. The only methods that it has itself are those of org.varlink.service.
 *
 * The server ends a connection, and no other one, after bytes that are no Varlink call, a call
 * longer than 64 KiB, a stall, or a hang-up. After a bad call it still sends the replies to earlier
 * calls. After a half-close it ends the connection when it has answered the calls that came before.
 * If there is no place for a peer, the server hangs up at once: the peer has made no call yet that
 * an error could answer. */
#pragma once

#include "daemon/control/varlink_service.h"

#include <event2/event.h>
#include <stdint.h>

struct server_limits {
    uint64_t max_connections;
    uint64_t max_connections_per_user; /* does not apply to root */
};

enum {
    SERVER_CONNECTIONS_DEFAULT = 256,
    SERVER_CONNECTIONS_PER_USER_DEFAULT = 32,
    SERVER_SEND_BUFFER_BYTES = 208 << 10, /* that the kernel allows each connection */
    /* What a connection may take beside its share of pending memory: the send buffer, one message
     * that the kernel still admits, and half of a message with what was read ahead. */
    SERVER_CONNECTION_BYTES = SERVER_SEND_BUFFER_BYTES + (64 << 10) + (68 << 10),
    SERVER_ROOT_CONNECTIONS = 4, /* places kept for root beyond max_connections */
    SERVER_STALL_USEC = 10 * 1000 * 1000
};

struct server_stats {
    uint64_t n_connections; /* open now */
    uint64_t n_requests, n_errors;
    uint64_t n_refused; /* peers that were refused at once: no place, no memory, or no descriptor */
};

struct server;

/* `base` needs EV_FEATURE_ET and EV_FEATURE_EARLY_CLOSE. `interfaces` ends with a NULL name; it and
 * `info` are borrowed for the server's life. Returns 0 or a negative errno. */
int server_new(struct event_base *base, const struct interface *interfaces,
               const struct server_info *info, struct server **ret);
/* Stops listening, cancels every call and closes every connection. Never call it from a method. */
struct server *server_free(struct server *server);

void server_set_limits(struct server *server, const struct server_limits *limits);
void server_set_rules(struct server *server, const struct peer_rules *rules);

/* Sets how much memory may wait for peers: replies that they have not read, and the parameters of
 * the calls in progress (see pending.h). The default is PENDING_BYTES_DEFAULT. */
void server_set_pending_limit(struct server *server, uint64_t limit_bytes);

/* Keeps there how many bytes of replies wait for peers now. It outlives the server; any thread may
 * read it. */
void server_count_unread(struct server *server, _Atomic uint64_t *n_bytes);

/* Sets two limits to the same time: how long a peer may take from a message's first byte to its
 * NUL, and how long it may take for all of the output that waits for it at one moment. Beyond a
 * limit the server closes the connection. The default is SERVER_STALL_USEC. */
void server_set_stall(struct server *server, uint64_t stall_usec);

/* server_listen takes a listening socket, server_adopt a connected one. They return 0 or a negative
 * errno, and close the descriptor on failure. */
int server_listen(struct server *server, int fd);
int server_adopt(struct server *server, int fd);

/* Sets a function to call when an adopted connection has ended, because a simulation then has no
 * user left. server_free does not call it. */
void server_on_adopted_end(struct server *server, void (*ended)(void *context), void *context);

/* How long calls took from their receipt to their last reply: those that were answered at once, or
 * those that were `deferred`. Borrowed. */
const struct histogram *server_call_times(const struct server *server, bool deferred);

void server_get_stats(const struct server *server, struct server_stats *ret);
