/* The connection to the daemon as a view's server uses it: leases with the place of their pieces.
 * The arena's descriptor is kept. Belongs to one thread. */
#pragma once

#include "client/library/varlink.h"
#include "client/view/view.h"

struct daemon_link {
    struct varlink *varlink; /* NULL: not connected */
    int arena_fd;            /* owned; -1: none yet */
    uint64_t device, inode;  /* the arena's */
};

/* A connection of its own. 0; -EACCES; -ENOMEM; -ENOTCONN: there is no daemon. */
int daemon_link_connect(struct varlink **ret);

/* As daemon_link_connect. */
int daemon_link_open(struct daemon_link *link);
void daemon_link_close(struct daemon_link *link); /* the arena stays */

/* Acquire. 0; -EBUSY, -ESTALE (the file has changed, or cannot be read), -EACCES, -ENOENT (any
 * other refusal); -EPIPE: the connection is lost, and closed. */
int daemon_link_acquire(struct daemon_link *link, const char *model, const char *layer,
                        uint64_t wait_usec, json_int_t fill, json_t **ret);
void daemon_link_release(struct daemon_link *link, json_t *lease);

/* Over a connection of its own: fills in the view's model, source and unit table. 0; -ENOENT if the
 * file is no model's; -ESTALE if it has changed since it was registered; as daemon_link_connect; or
 * another negative errno. */
int daemon_link_find_model(int fd, struct view *view);
