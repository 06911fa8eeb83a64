/* The connection of the server thread to the daemon. It makes leases, and keeps the arena's
 * descriptor. Only one thread may use it. */
#pragma once

#include "client/library/varlink.h"
#include "client/view/view.h"
#include "common/file_id.h"

struct daemon_link {
    struct varlink *varlink; /* NULL: not connected */
    int arena_fd;            /* owned; -1: none yet */
    struct file_id arena;    /* which arena this descriptor has open */
    uint64_t serial;         /* of the connection, from 1 */
    bool has_answered;       /* on this connection */
    uint64_t grace_usec;     /* for the first answer on a connection */
};

/* Makes a separate connection. 0; -EACCES; -ENOMEM; -ENOTCONN: there is no daemon. */
int daemon_link_connect(struct varlink **ret);

/* Errors as of daemon_link_connect. */
int daemon_link_open(struct daemon_link *link);
void daemon_link_close(struct daemon_link *link); /* keeps the arena's descriptor */

/* Whether a daemon waits for this process to unmap the arena. */
bool daemon_link_arena_is_emptied(const struct daemon_link *link);
void daemon_link_forget_arena(struct daemon_link *link);

/* Declares the view to the daemon, once on each connection. 0, even if the daemon refuses it, for
 * example because the model has other files now; then nothing can be leased for it. -EPIPE: the
 * connection is lost. -ENOMEM: nothing was sent. */
int daemon_link_declare(struct daemon_link *link, struct view *view);
/* Tells the daemon how much of the view is outside of the arena, if that has changed. 0, also if
 * the connection is lost; -ENOMEM: nothing was sent. */
int daemon_link_update_view(struct daemon_link *link, struct view *view);
/* Tells how often layers were used, as UpdateView's `used`, and how much of the view is outside.
 * Returns as daemon_link_update_view. */
int daemon_link_tell_uses(struct daemon_link *link, struct view *view, uint32_t from,
                          const char *used);
/* Returns as daemon_link_update_view. */
int daemon_link_end_view(struct daemon_link *link, const struct view *view);

/* Acquire for a view, which it declares if necessary. 0; -EBUSY, -ESTALE (the file has changed, or
 * cannot be read), -EACCES, -ENOENT (the daemon does not know the model or the view), -EREMOTEIO
 * (any other refusal); -EPIPE: the connection is lost, and closed; -ENOMEM: nothing was sent. */
int daemon_link_acquire(struct daemon_link *link, struct view *view, const char *layer,
                        uint64_t wait_usec, json_int_t fill, json_t **ret);
/* The same in two steps for a view that the daemon knows, so that several calls may be under way.
 * The replies come in the order of the calls. `next` is the layer that will be asked for then; or
 * NULL. daemon_link_ask returns 0, -EPIPE or -ENOMEM. */
int daemon_link_ask(struct daemon_link *link, const struct view *view, const char *layer,
                    const char *next, uint64_t wait_usec, json_int_t fill, bool is_ahead);
int daemon_link_receive(struct daemon_link *link, json_t **ret);
/* 0, also if the connection is lost; -ENOMEM: nothing was sent. */
int daemon_link_release(struct daemon_link *link, json_t *lease);

/* Finds the view's model, source and unit table over a separate connection. 0; -ENOENT if the file
 * belongs to no model; -ESTALE if it has changed since it was registered; an error of
 * daemon_link_connect; or another negative errno. */
int daemon_link_find_model(int fd, struct view *view);
