/* The daemon's own listening socket, which it opens if the service manager passed none. */
#pragma once

#include <sys/types.h>

/* Where a daemon without the option `socket` listens: /run/edgemind/... as root, else below
 * $XDG_RUNTIME_DIR. Returns a malloc'ed path, or NULL (no $XDG_RUNTIME_DIR, or out of memory). */
char *listen_socket_default_path(void);

/* Binds and listens with mode 0660, owned by `gid` unless that is (gid_t)-1. Makes the path's last
 * directory if it is missing, and replaces a stale socket file. Returns a descriptor, or
 * -EADDRINUSE (another daemon listens there), -ENAMETOOLONG or another negative errno. */
int listen_socket_open(const char *path, gid_t gid);

/* The group that may connect, which is that of the socket file; (gid_t)-1 if there is no file. */
gid_t listen_socket_group(int fd);
