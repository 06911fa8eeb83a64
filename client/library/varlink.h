/* The client's end of one Varlink connection. It sends calls, receives replies, and passes
 * descriptors both ways.
 *
 * Only one thread at a time may use a connection; different connections share nothing. Calls may be
 * pipelined: sending never waits, and replies come in the order of the calls. Only receiving and
 * flushing wait, at most for the timeout. This file does not interpret replies: an error reply is a
 * reply with a wire name and parameters.
 *
 * After fork() the connection belongs to the parent. In the child its socket is closed, and every
 * call returns -ECHILD; the child may only free the connection. */
#pragma once

#include "proto/frame.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VARLINK_FOREVER UINT64_MAX

struct varlink;

/* `timeout_usec` limits this call, and later every receive and flush. 0; -ETIMEDOUT; -ENAMETOOLONG
 * if `path` does not fit into a socket address; or another negative errno. */
int varlink_connect(const char *path, uint64_t timeout_usec, struct varlink **ret);

/* Takes ownership of a connected stream socket, also on failure. Without a timeout. 0 or a negative
 * errno. */
int varlink_adopt(int fd, struct varlink **ret);

/* Closes the connection, which makes the server cancel unanswered calls. */
struct varlink *varlink_free(struct varlink *varlink);
DEFINE_CLEANUP(struct varlink *, varlink_free);

void varlink_set_timeout(struct varlink *varlink, uint64_t timeout_usec);

/* Sets a descriptor (borrowed, -1 for none) that ends every wait with -EINTR while it is readable.
 */
void varlink_set_interrupt(struct varlink *varlink, int fd);

/* The socket, borrowed, to poll. While no call waits for a reply, it becomes readable only when the
 * connection ends. */
int varlink_fd(const struct varlink *varlink);

/* Whether the connection was made before this process was forked. */
bool varlink_is_parents(const struct varlink *varlink);

enum varlink_flags {
    VARLINK_ONEWAY = 1 << 0, /* no reply will come */
    VARLINK_MORE = 1 << 1    /* any number of replies; nothing can be sent before the last one */
};

/* Queues a call and sends as much as the socket accepts; receiving or flushing sends the rest.
 * `parameters` (may be NULL) and `fds` are borrowed; `fds` are duplicated. 0; -EBUSY while a call
 * with VARLINK_MORE is unfinished; -EMSGSIZE if the call is too long for the protocol; -ENOMEM;
 * -EMFILE; or the errno that broke the connection before. */
int varlink_send(struct varlink *varlink, const char *method, json_t *parameters, unsigned flags,
                 const int *fds, size_t n_fds);

/* Waits until everything queued is sent. Reads no replies meanwhile. 0, -ETIMEDOUT, -EINTR, or the
 * errno that broke the connection. */
int varlink_flush(struct varlink *varlink);

struct varlink_reply {
    json_t *parameters; /* an object, never NULL */
    const char *error;  /* wire name, or NULL */
    bool continues;     /* more replies to this call follow */
    json_t *root;       /* owns parameters and error */
    struct frame frame; /* owns the descriptors; its text is freed */
};

/* Receives the next reply, which the caller owns. 0, or
 *   -ENODATA    no call waits for a reply
 *   -ETIMEDOUT  no reply within the timeout; the caller may wait again
 *   -EINTR      interrupted; the caller may wait again
 *   -ECONNRESET the server hung up
 *   -EBADMSG    the message is not a reply to the call
 *   -EMSGSIZE   the message is too long
 * or another negative errno. All except the first three break the connection for good. */
int varlink_receive(struct varlink *varlink, struct varlink_reply *ret);

/* Sends a call and receives its only reply. No other call may be waiting for a reply. The errors
 * are those of varlink_send and varlink_receive. */
int varlink_call(struct varlink *varlink, const char *method, json_t *parameters, const int *fds,
                 size_t n_fds, struct varlink_reply *ret);

/* Passes ownership of the reply's descriptor `index` to the caller; or -EBADF. */
int varlink_reply_take_fd(struct varlink_reply *reply, uint64_t index);

/* Frees the reply and closes the descriptors that were not taken. A zeroed reply is allowed. */
void varlink_reply_done(struct varlink_reply *reply);
