/* The client's end of one Varlink connection: calls out, replies in, descriptors both ways.
 *
 * A connection belongs to one thread at a time; different connections share nothing. Calls may be
 * pipelined: sending never waits, replies come in the order of the calls. Only receiving and
 * flushing wait, at most for the timeout. What a reply means is the caller's business: an error
 * reply is a reply, with its wire name and its parameters.
 *
 * After fork() the connection is the parent's: in the child its socket is closed, and every call
 * returns -ECHILD; the child may only free it. */
#pragma once

#include "proto/frame.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VARLINK_FOREVER UINT64_MAX

struct varlink;

/* `timeout_usec` bounds the connecting, and later every receive and flush. 0; -ETIMEDOUT;
 * -ENAMETOOLONG if `path` does not fit a socket address; or another negative errno. */
int varlink_connect(const char *path, uint64_t timeout_usec, struct varlink **ret);

/* Takes a connected stream socket, also on failure. No timeout. 0 or a negative errno. */
int varlink_adopt(int fd, struct varlink **ret);

/* Closes the connection; for the server that cancels what is unanswered. */
struct varlink *varlink_free(struct varlink *varlink);
DEFINE_CLEANUP(struct varlink *, varlink_free);

void varlink_set_timeout(struct varlink *varlink, uint64_t timeout_usec);

/* A descriptor (borrowed, -1 for none) that ends every wait with -EINTR while it is readable. */
void varlink_set_interrupt(struct varlink *varlink, int fd);

/* The socket, borrowed, to poll: when no call is waiting for a reply, what can be read is the end.
 */
int varlink_fd(const struct varlink *varlink);

/* Whether it was made before this process was forked. */
bool varlink_is_parents(const struct varlink *varlink);

enum varlink_flags {
    VARLINK_ONEWAY = 1 << 0, /* no reply will come */
    VARLINK_MORE = 1 << 1    /* any number of replies; nothing can be sent before the last one */
};

/* Queues a call and sends what the socket takes; receiving or flushing sends the rest. `parameters`
 * (may be NULL) and `fds` are borrowed, the latter duplicated. 0; -EBUSY while a call with
 * VARLINK_MORE is unfinished; -EMSGSIZE for a call that is too long for the protocol; -ENOMEM;
 * -EMFILE; or what broke the connection before. */
int varlink_send(struct varlink *varlink, const char *method, json_t *parameters, unsigned flags,
                 const int *fds, size_t n_fds);

/* Waits until everything queued is sent. Replies are not read meanwhile. 0, -ETIMEDOUT, -EINTR, or
 * what broke the connection. */
int varlink_flush(struct varlink *varlink);

struct varlink_reply {
    json_t *parameters; /* an object, never NULL */
    const char *error;  /* wire name, or NULL */
    bool continues;     /* more replies to this call follow */
    json_t *root;       /* owns the above */
    struct frame frame; /* owns the descriptors; the text is gone */
};

/* The next reply, owned by the caller. 0, or
 *   -ENODATA    no call is waiting for one
 *   -ETIMEDOUT  not within the timeout; the reply may still be waited for
 *   -EINTR      interrupted; likewise
 *   -ECONNRESET the server hung up
 *   -EBADMSG    what came is not a reply to the call
 *   -EMSGSIZE   it is too long
 * or another negative errno. All but the first three break the connection for good. */
int varlink_receive(struct varlink *varlink, struct varlink_reply *ret);

/* Sends a call and receives its one reply; nothing may be waiting for a reply already. Errors as
 * above. */
int varlink_call(struct varlink *varlink, const char *method, json_t *parameters, const int *fds,
                 size_t n_fds, struct varlink_reply *ret);

/* The reply's descriptor `index`, owned by the caller from then on, or -EBADF. */
int varlink_reply_take_fd(struct varlink_reply *reply, uint64_t index);

/* Also closes the descriptors that were not taken. Safe on a zeroed reply. */
void varlink_reply_done(struct varlink_reply *reply);
