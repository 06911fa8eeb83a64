#include "client/library/regular_file.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

int regular_file_open(const char *path)
{
    struct stat status;
    /* O_NONBLOCK: opening a named pipe must not wait for its writer. */
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return errno == ENXIO ? -EINVAL : -errno; /* ENXIO: a socket */
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    return TAKE_FD(fd);
}
