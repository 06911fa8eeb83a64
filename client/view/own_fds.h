/* The descriptors of this library: an engine that closes everything it did not open leaves them
 * alone. Any thread, and signal handlers. */
#pragma once

#include <stdbool.h>

/* Moves `fd` (taken, also on failure) out of the way and remembers it. The new one or -errno. */
int own_fd_keep(int fd);
/* Remembers one that cannot be moved. */
void own_fd_mark(int fd);
void own_fd_forget(int fd);
/* Forgets and closes. */
void own_fd_close(int fd);

bool own_fd_is(int fd);
/* The lowest of them in [first, last], or -1. */
int own_fd_first(unsigned first, unsigned last);
