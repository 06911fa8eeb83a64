/* Descriptors that another process passed. To close one may wait for the server of its file, as of
 * FUSE, for as long as that likes; so a program with an event loop has them closed elsewhere. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Whoever passed descriptors, and how many of them are still to be closed. One thread only. */
struct passed_fd_owner;

struct passed_fd_owner *passed_fd_owner_new(void); /* NULL: no memory */
/* It may go before its descriptors are closed. */
struct passed_fd_owner *passed_fd_owner_free(struct passed_fd_owner *owner);
uint64_t passed_fd_owner_n_closing(const struct passed_fd_owner *owner);

/* Closes `fd`, or has it closed later, and counts it for `owner` until then. Does nothing if it is
 * negative. Any thread if there is no owner (NULL). */
void passed_fd_close_for(int fd, struct passed_fd_owner *owner);

static inline void passed_fd_close(int fd)
{
    passed_fd_close_for(fd, NULL);
}

/* For _cleanup_. */
static inline void passed_fd_closep(const int *fd)
{
    passed_fd_close(*fd);
}

/* From now on `closer` closes them; NULL: passed_fd_close_for does so itself. Belongs before the
 * first thread and after the last one. A closer that closes `fd` later says so: passed_fd_later
 * when it was given it, and passed_fd_closed when that is done; both accept NULL. */
void passed_fd_set_closer(void (*closer)(int fd, struct passed_fd_owner *owner, void *context),
                          void *context);
void passed_fd_later(struct passed_fd_owner *owner);
void passed_fd_closed(struct passed_fd_owner *owner);
