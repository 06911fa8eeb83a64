/* The connection to the daemon as a view's server uses it: leases with the place of their pieces.
 * The arena's descriptor is kept. Belongs to one thread. */
#pragma once

#include "client/library/varlink.h"
#include "client/view/view.h"

struct daemon_link {
    struct varlink *varlink; /* NULL: not connected */
    int arena_fd;            /* owned; -1: none yet */
    uint64_t device, inode;  /* the arena's */
    uint64_t serial;         /* of the connection, from 1 */
};

/* A connection of its own. 0; -EACCES; -ENOMEM; -ENOTCONN: there is no daemon. */
int daemon_link_connect(struct varlink **ret);

/* As daemon_link_connect. */
int daemon_link_open(struct daemon_link *link);
void daemon_link_close(struct daemon_link *link); /* the arena stays */

/* Tells the daemon of the view, once over each connection. -EPIPE: the connection is lost; a
 * refusal is none: then the daemon does not count what is leased for it. */
int daemon_link_declare(struct daemon_link *link, struct view *view);
void daemon_link_end_view(struct daemon_link *link, const struct view *view);

/* Acquire for a view. 0; -EBUSY, -ESTALE (the file has changed, or cannot be read), -EACCES,
 * -ENOENT (any other refusal); -EPIPE: the connection is lost, and closed. */
int daemon_link_acquire(struct daemon_link *link, const struct view *view, const char *layer,
                        uint64_t wait_usec, json_int_t fill, json_t **ret);
void daemon_link_release(struct daemon_link *link, json_t *lease);

/* Over a connection of its own: fills in the view's model, source and unit table. 0; -ENOENT if the
 * file is no model's; -ESTALE if it has changed since it was registered; as daemon_link_connect; or
 * another negative errno. */
int daemon_link_find_model(int fd, struct view *view);
