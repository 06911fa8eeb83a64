/* Descriptors that another process passed. To close one may wait for the server of its file, as of
 * FUSE, for as long as that likes; so a program with an event loop has them closed elsewhere. */
#pragma once

/* Closes `fd`, or has it closed later. Does nothing if it is negative. Any thread. */
void passed_fd_close(int fd);

/* For _cleanup_. */
static inline void passed_fd_closep(const int *fd)
{
    passed_fd_close(*fd);
}

/* From now on `closer` closes them; NULL: passed_fd_close does so itself. Belongs before the first
 * thread and after the last one. */
void passed_fd_set_closer(void (*closer)(int fd, void *context), void *context);
