/* Opens a file below model-dir: walks down the path name by name, and never up. It does not use
 * openat2(2), because the service's RestrictSUIDSGID= hides that call, and this setting must not
 * change which files can be opened. */
#include "daemon/weights/model_dir.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static bool is_link(int directory_fd, const char *name)
{
    struct stat status;
    return fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISLNK(status.st_mode);
}

static int walk(int directory_fd, const char *path)
{
    _cleanup_(freep) char *rest = strdup(path);
    _cleanup_(closep) int fd = fcntl(directory_fd, F_DUPFD_CLOEXEC, 0);
    if (!rest)
        return -ENOMEM;
    if (fd < 0)
        return -errno;
    if (path[0] == '/')
        return -EXDEV;

    char *cursor = rest;
    for (char *name; (name = strsep(&cursor, "/"));) {
        if (strcmp(name, "..") == 0)
            return -EXDEV;
        if (name[0] == '\0' || strcmp(name, ".") == 0)
            continue;
        /* O_NONBLOCK, so that a FIFO cannot stall the daemon before it is refused. */
        int next = openat(fd, name,
                          O_CLOEXEC | O_NOFOLLOW |
                              (cursor ? O_PATH | O_DIRECTORY : O_RDONLY | O_NOCTTY | O_NONBLOCK));
        if (next < 0)
            return errno == ENOTDIR && is_link(fd, name) ? -ELOOP : -errno;
        close(fd);
        fd = next;
    }
    return TAKE_FD(fd);
}

int model_dir_open(const char *directory, const char *path)
{
    _cleanup_(closep) int directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        return -errno;
    _cleanup_(closep) int fd = walk(directory_fd, path);
    struct stat status;
    if (fd < 0)
        return fd == -ENXIO ? -EINVAL : fd; /* a socket, or a device without a driver */
    if (fstat(fd, &status) < 0)
        return -errno;
    return S_ISREG(status.st_mode) ? TAKE_FD(fd) : -EINVAL;
}
