/* The sockets that clients connect to: those that the service manager passed, or else the daemon's
 * own. */
#pragma once

#include "daemon/config.h"
#include "daemon/control/server.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SOCKETS_MAX = 16 };

/* Zero-initialise it. */
struct sockets {
    struct passed_socket {
        int fd;
        bool is_listening;
    } passed[SOCKETS_MAX]; /* those that the server has not got yet */
    size_t n_passed;
    char *path; /* of the daemon's own socket; sockets_done removes the file */
};

/* Takes a descriptor that the service manager passed: a listening socket or a connection. Returns
 * 0, or -EMFILE beyond SOCKETS_MAX. */
int sockets_take(struct sockets *sockets, int fd, bool is_listening);

/* Gives the server every socket that was passed. If none was passed, opens one at `path` (NULL: the
 * default path) for `group` (NULL: the daemon's own group). If a socket listens, sets
 * `ret_member_gid` to the group whose members may connect. Returns 0, or a negative errno after an
 * entry in the log. */
int sockets_open(struct sockets *sockets, struct server *server, const char *path,
                 const char *group, gid_t *ret_member_gid);
void sockets_done(struct sockets *sockets);

/* Looks up a group; if `name` is NULL, sets *ret to (gid_t)-1. Returns 0; -EINVAL if there is no
 * such group, which another start does not change; or another negative errno. Then `ret_why` is
 * set, and names the option. May wait for a server; one thread at a time. */
int group_find(const char *name, const char *option, gid_t *ret,
               char ret_why[static CONFIG_WHY_MAX]);
