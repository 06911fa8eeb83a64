/* Finds the daemon's socket, for every client. */
#pragma once

/* Returns `given` if that is not NULL, else $EDGEMIND_SOCKET, else the system's socket if it
 * exists, else the socket of this user's own daemon below $XDG_RUNTIME_DIR if it exists, else the
 * system's socket. malloc'ed; NULL when out of memory. */
char *socket_path_find(const char *given);
