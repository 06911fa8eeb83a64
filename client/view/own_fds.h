/* The descriptors of this library: an engine that closes everything it did not open leaves them
 * alone. Any thread, and signal handlers. */
#pragma once

#include <stdbool.h>

/* Moves `fd` (taken, also on failure) out of the way and remembers it. The new one or -errno. */
int own_fd_keep(int fd);
/* Remembers one that cannot be moved. */
void own_fd_mark(int fd);
/* Returns whether it was intact: if not, the number is not the caller's to close. */
bool own_fd_forget(int fd);
/* Forgets it, and closes it if it was intact. */
void own_fd_close(int fd);
/* Whether the number is still open on what it was remembered with. A close(2) that does not go
 * through this library may have given the number to a file of the engine. */
bool own_fd_is_intact(int fd);

bool own_fd_is(int fd);
/* The lowest of them in [first, last], or -1. */
int own_fd_first(unsigned first, unsigned last);
