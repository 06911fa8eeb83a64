/* Where the daemon listens, for every client. */
#pragma once

/* `given` if that is not NULL, else $EDGEMIND_SOCKET, else the system's socket, else that of this
 * user's own daemon below $XDG_RUNTIME_DIR; where neither exists, the system's. malloc'ed; NULL
 * when out of memory. */
char *socket_path_find(const char *given);
