/* Descriptors that another process passed. To close one may wait for the server of its file, as of
 * FUSE, for as long as that likes; so a program with an event loop has them closed elsewhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whoever passed descriptors, and how many of them are still to be closed. One thread only. */
struct passed_fd_owner;

struct passed_fd_owner *passed_fd_owner_new(void); /* NULL: no memory */
/* It may go before its descriptors are closed. */
struct passed_fd_owner *passed_fd_owner_free(struct passed_fd_owner *owner);
uint64_t passed_fd_owner_n_closing(const struct passed_fd_owner *owner);

/* Closes the descriptors, or has them closed later, together, and counts them for `owner` until
 * then. Any thread if there is no owner (NULL). */
void passed_fds_close(const int *fds, size_t n_fds, struct passed_fd_owner *owner);

/* Does nothing if it is negative. */
static inline void passed_fd_close(int fd)
{
    passed_fds_close(&fd, fd >= 0, NULL);
}

/* For _cleanup_. */
static inline void passed_fd_closep(const int *fd)
{
    passed_fd_close(*fd);
}

/* Returns false if it cannot; then passed_fds_close closes them itself. */
typedef bool passed_fds_closer(const int *fds, size_t n_fds, struct passed_fd_owner *owner,
                               void *context);

/* From now on `closer` closes them; NULL: passed_fds_close does so itself. Belongs before the first
 * thread and after the last one. A closer that closes them later says so: passed_fds_later when it
 * was given them, and passed_fds_closed when that is done; both accept NULL as the owner. */
void passed_fds_set_closer(passed_fds_closer *closer, void *context);
void passed_fds_later(struct passed_fd_owner *owner, size_t n_fds);
void passed_fds_closed(struct passed_fd_owner *owner, size_t n_fds);
