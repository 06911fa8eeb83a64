#include "common/passed_fd.h"

#include <unistd.h>

static void (*close_elsewhere)(int fd, void *context);
static void *closer_context;

void passed_fd_close(int fd)
{
    if (fd < 0)
        return;
    if (close_elsewhere)
        close_elsewhere(fd, closer_context);
    else
        close(fd);
}

void passed_fd_set_closer(void (*closer)(int fd, void *context), void *context)
{
    close_elsewhere = closer;
    closer_context = context;
}
