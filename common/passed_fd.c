#include "common/passed_fd.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct passed_fd_owner {
    uint64_t n_closing;
    bool is_gone;
};

static void (*close_elsewhere)(int fd, struct passed_fd_owner *owner, void *context);
static void *closer_context;

struct passed_fd_owner *passed_fd_owner_new(void)
{
    return calloc(1, sizeof(struct passed_fd_owner));
}

struct passed_fd_owner *passed_fd_owner_free(struct passed_fd_owner *owner)
{
    if (owner && owner->n_closing > 0)
        owner->is_gone = true;
    else
        free(owner);
    return NULL;
}

uint64_t passed_fd_owner_n_closing(const struct passed_fd_owner *owner)
{
    return owner->n_closing;
}

void passed_fd_later(struct passed_fd_owner *owner)
{
    if (owner)
        owner->n_closing++;
}

void passed_fd_closed(struct passed_fd_owner *owner)
{
    if (owner && --owner->n_closing == 0 && owner->is_gone)
        free(owner);
}

void passed_fd_close_for(int fd, struct passed_fd_owner *owner)
{
    if (fd < 0)
        return;
    if (close_elsewhere)
        close_elsewhere(fd, owner, closer_context);
    else
        close(fd);
}

void passed_fd_set_closer(void (*closer)(int fd, struct passed_fd_owner *owner, void *context),
                          void *context)
{
    close_elsewhere = closer;
    closer_context = context;
}
