/* A peer's connection and the one call that it may have open. Methods see call.h only. Loop thread
 * only. */
#pragma once

#include "daemon/control/method.h"
#include "proto/frame.h"
#include "proto/message.h"

#include <event2/event.h>
#include <sys/queue.h>

struct connection;

enum { CONNECTION_TURN_MESSAGES = 32 /* at most so many of one connection in a loop turn */ };

/* What all connections of a server have in common. Outlives them. */
struct connection_host {
    struct event_base *base;
    const struct interface *interfaces; /* ends with a NULL name */
    struct interface service;           /* org.varlink.service */
    uint64_t stall_usec;                /* see server_set_stall */
    uint64_t n_requests, n_errors;
    uint64_t json_failures; /* of the loop's thread, as far as they are known */
    /* A call was read: finds its method, or answers it. */
    void (*dispatch)(struct call *call, const struct connection_host *host, bool fds_lost);
    /* The connection has come to CONNECTION_CLOSED; free it, but not before this returns. */
    void (*closed)(struct connection *connection, void *context);
    void *context;
};

struct call {
    struct connection *connection;
    bool open; /* a final answer is owed */
    struct message_call message;
    struct frame frame; /* descriptors that were not taken yet */
    struct call_hooks hooks;
    void *hooks_context;
};

enum connection_state {
    CONNECTION_READING,  /* no call is open */
    CONNECTION_CALLING,  /* one is; further ones wait in the socket */
    CONNECTION_DRAINING, /* no more calls; closes when the output has been sent */
    CONNECTION_CLOSED    /* nothing is sent or received any more */
};

struct connection {
    TAILQ_ENTRY(connection) entry; /* the server's */
    bool adopted;                  /* the server's */

    struct connection_host *host;
    enum connection_state state;
    int fd;
    struct peer peer;
    struct frame_reader *reader;
    struct frame_writer *writer;
    struct call call;
    int attached_fd; /* owned; goes with the next reply; -1: none */
    void *data;      /* the methods' */
    void (*data_ended)(void *data);
    bool readable;  /* the socket may hold bytes that no further edge announces */
    bool ended;     /* the peer sends no more: the end of the stream must be looked for */
    bool in_turn;   /* replies are sent together, at the turn's end */
    bool drain_due; /* the call's `drained` hook is to run in the next turn */
    struct event *read_event, *write_event, *resume, *read_stall, *write_stall;
};

/* Takes `fd`, a non-blocking connected socket, also on failure. 0 or -ENOMEM. */
int connection_new(struct connection_host *host, int fd, const struct peer *peer,
                   struct connection **ret);

/* Tells an open call that its peer is gone, then releases everything. Never from the connection's
 * own callbacks or a method. */
struct connection *connection_free(struct connection *connection);

/* Ends it; the host is told and frees it later. Safe anywhere, also twice. */
void connection_close(struct connection *connection);

/* The call's side. connection_send queues one reply, whose text is taken. connection_settle
 * sends what is queued, unless a turn does so at its end. connection_end_call releases the open
 * call, settles and lets the next call come. */
void connection_send(struct connection *connection, char *text, size_t n_bytes);
void connection_settle(struct connection *connection);
void connection_end_call(struct connection *connection);
