/* The descriptors of this library, which stay open even if the engine closes all descriptors that
 * it did not open. Any thread and signal handlers may use this. */
#pragma once

#include <stdbool.h>

/* Moves `fd` (ownership is taken, also on failure) to a high number and remembers it. The new
 * descriptor or -errno. */
int own_fd_keep(int fd);
/* Remembers a descriptor that cannot be moved. */
void own_fd_mark(int fd);
/* Forgets it. Returns whether it was intact; if it was not, the caller must not close the number.
 */
bool own_fd_forget(int fd);
/* Forgets it, and closes it if it was intact. */
void own_fd_close(int fd);
/* Whether the number still has the file that it was remembered with. After a close(2) that bypasses
 * this library, a file of the engine may have the number. */
bool own_fd_is_intact(int fd);

bool own_fd_is(int fd);
/* The lowest remembered number in [first, last], or -1. */
int own_fd_first(unsigned first, unsigned last);
