#include "common/fd_path.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int fd_path(int fd, char path[static PATH_MAX])
{
    char link[sizeof "/proc/self/fd/-2147483648"];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    return 0;
}
