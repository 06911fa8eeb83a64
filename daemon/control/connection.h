/* A peer's connection and its call; a connection has at most one open call. Methods include only
 * call.h. Loop thread only. */
#pragma once

#include "common/histogram.h"
#include "daemon/control/method.h"
#include "daemon/control/rounds.h"
#include "proto/frame.h"
#include "proto/message.h"

#include <event2/event.h>
#include <sys/queue.h>

struct connection;

/* The most messages that one connection handles in its turn. */
enum { CONNECTION_TURN_MESSAGES = 32 };

/* What all connections of a server share. Outlives them. */
struct connection_host {
    struct event_base *base;
    const struct interface *interfaces; /* ends with a NULL name */
    struct interface service;           /* org.varlink.service */
    struct rounds *rounds;
    uint64_t stall_usec; /* see server_set_stall */
    uint64_t n_requests, n_errors;
    struct histogram call_times[2]; /* of calls answered at once; of those answered later */
    uint64_t json_failures;         /* the loop thread's count when it was last looked at */
    /* Called for each call that was read: finds its method, or answers it. */
    void (*dispatch)(struct call *call, const struct connection_host *host, bool fds_lost);
    /* Called when the connection has reached CONNECTION_CLOSED. End and free it, but only after
     * this has returned. */
    void (*closed)(struct connection *connection, void *context);
    void *context;
};

struct call {
    struct connection *connection;
    bool open;        /* it has no final answer yet */
    bool is_deferred; /* its method has returned without that answer */
    uint64_t begun_usec;
    struct message_call message;
    const struct method *method; /* NULL before it is found */
    struct frame frame;          /* the message, with the descriptors that no method has taken */
    struct call_hooks hooks;
    void *hooks_context;
};

enum connection_state {
    CONNECTION_READING,  /* no call is open */
    CONNECTION_CALLING,  /* a call is open; further ones wait in the socket */
    CONNECTION_DRAINING, /* no more calls; closes when the output has been sent */
    CONNECTION_CLOSED    /* nothing is sent or received any more */
};

struct connection {
    TAILQ_ENTRY(connection) entry; /* belongs to the server */
    bool adopted;                  /* belongs to the server */
    struct participant participant;

    struct connection_host *host;
    enum connection_state state;
    int fd;
    struct peer peer;
    struct frame_reader *reader;
    struct frame_writer *writer;
    struct call call;
    int attached_fd; /* owned; sent with the next reply; -1: none */
    void *data;      /* belongs to the methods */
    void (*data_ended)(void *data);
    bool readable;       /* the socket may hold bytes that no further event announces */
    bool writable;       /* the socket accepts more: the next turn sends */
    bool ended;          /* the peer sends no more: read until the end of the stream */
    bool in_turn;        /* a turn is running; it sends its replies together at its end */
    bool drain_due;      /* the next turn must run the call's `drained` hook */
    bool is_hurried;     /* the time of read_stall is that of a message with descriptors */
    uint64_t call_bytes; /* memory that the open call's parameters take */
    uint64_t due_bytes;  /* of the output: what the peer must take before write_stall ends */
    struct event *read_event, *write_event, *read_stall, *write_stall;
};

/* Takes `fd`, a non-blocking connected socket, also on failure. Returns 0 or -ENOMEM. */
int connection_new(struct connection_host *host, int fd, const struct peer *peer,
                   struct connection **ret);

/* The two steps that follow connection_close. Never call them from the connection's own callbacks
 * or from a method. connection_end runs the `cancelled` hook of an open call, and releases what the
 * methods hold. connection_free frees a portion of the replies that the peer has not taken; if no
 * more are left, it frees the connection and returns true. */
void connection_end(struct connection *connection);
bool connection_free(struct connection *connection);

static inline struct connection *connection_of(struct participant *participant)
{
    return (struct connection *)((char *)participant - offsetof(struct connection, participant));
}

/* A connection's turn in a round: reads and handles calls until there are no more, or the turn has
 * reached its number of messages, or the round's time is up. */
void connection_serve(struct participant *participant);

/* Ends the connection. The host's `closed` is called, and the host frees the connection later. Safe
 * to call from anywhere, also twice. */
void connection_close(struct connection *connection);

/* For call.c. connection_send queues one reply, and takes its text. connection_settle sends the
 * queued replies, unless a turn is running, which does so at its end. connection_end_call releases
 * the open call, settles, and lets the connection read the next call. */
void connection_send(struct connection *connection, char *text, size_t n_bytes);
bool connection_has_room(const struct connection *connection, size_t n_bytes);
bool connection_may_continue(struct connection *connection);
void connection_settle(struct connection *connection);
void connection_end_call(struct connection *connection);
