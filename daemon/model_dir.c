/* Opening below model-dir: openat2(RESOLVE_BENEATH), and where a filter hides that call (ENOSYS), a
 * walk that follows no symbolic link at all. */
#include "daemon/model_dir.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* O_NONBLOCK: a FIFO must not stall the daemon before it is refused. */
static const int open_flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

static int open_walking(int directory_fd, const char *path)
{
    _cleanup_(freep) char *rest = strdup(path);
    _cleanup_(closep) int fd = fcntl(directory_fd, F_DUPFD_CLOEXEC, 0);
    if (!rest || fd < 0)
        return -ENOMEM;
    if (path[0] == '/')
        return -EXDEV;

    char *cursor = rest;
    for (char *name; (name = strsep(&cursor, "/"));) {
        if (strcmp(name, "..") == 0)
            return -EXDEV;
        if (name[0] == '\0' || strcmp(name, ".") == 0)
            continue;
        int next = openat(fd, name, open_flags | O_NOFOLLOW | (cursor ? O_DIRECTORY : 0));
        if (next < 0)
            return -errno;
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

    const struct open_how how = {
        .flags = (uint64_t)open_flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long opened = syscall(SYS_openat2, directory_fd, path, &how, sizeof(how));
    _cleanup_(closep) int fd = opened >= 0       ? (int)opened
                               : errno == ENOSYS ? open_walking(directory_fd, path)
                                                 : -errno;
    struct stat status;
    if (fd < 0)
        return fd == -ENXIO ? -EINVAL : fd; /* a socket, or a device without a driver */
    if (fstat(fd, &status) < 0)
        return -errno;
    return S_ISREG(status.st_mode) ? TAKE_FD(fd) : -EINVAL;
}
