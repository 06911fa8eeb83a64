/* The sockets by which clients come in: what the service manager passed, or else the daemon's own.
 */
#pragma once

#include "daemon/control/server.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SOCKETS_MAX = 16 };

/* Zero-initialised. */
struct sockets {
    struct passed_socket {
        int fd;
        bool is_listening;
    } passed[SOCKETS_MAX]; /* not yet given to the server */
    size_t n_passed;
    char *path; /* of the daemon's own socket, which sockets_done removes */
};

/* Takes over a descriptor that the service manager passed: a listening socket or a connection. 0,
 * or -EMFILE beyond SOCKETS_MAX. */
int sockets_take(struct sockets *sockets, int fd, bool is_listening);

/* Gives the server every socket that was passed. If none was, opens one at `path` (NULL: the
 * default place) for `group` (NULL: the daemon's own). `ret_member_gid` is set if a socket listens:
 * it is the group whose members may connect. 0, or a negative errno after an entry in the log. */
int sockets_open(struct sockets *sockets, struct server *server, const char *path,
                 const char *group, gid_t *ret_member_gid);
void sockets_done(struct sockets *sockets);

/* (gid_t)-1 if `name` is NULL. 0, or -ENOENT after an entry in the log that names the option. */
int group_find(const char *name, const char *option, gid_t *ret);
