#include "common/passed_fd.h"

#include <stdlib.h>
#include <unistd.h>

struct passed_fd_owner {
    uint64_t n_closing;
    bool is_gone;
};

static passed_fds_closer *close_elsewhere;
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

void passed_fds_later(struct passed_fd_owner *owner, size_t n_fds)
{
    if (owner)
        owner->n_closing += n_fds;
}

void passed_fds_closed(struct passed_fd_owner *owner, size_t n_fds)
{
    if (!owner)
        return;
    owner->n_closing -= n_fds;
    if (owner->n_closing == 0 && owner->is_gone)
        free(owner);
}

void passed_fds_close(const int *fds, size_t n_fds, struct passed_fd_owner *owner)
{
    if (n_fds > 0 && close_elsewhere && close_elsewhere(fds, n_fds, owner, closer_context))
        return;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
}

void passed_fds_set_closer(passed_fds_closer *closer, void *context)
{
    close_elsewhere = closer;
    closer_context = context;
}
