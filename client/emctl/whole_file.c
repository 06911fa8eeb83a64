#include "client/emctl/whole_file.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

/* Opens a new file beside `path`, with the mode that the file has or would get. */
static int open_temporary(const char *path, const struct stat *old, char **ret_temporary)
{
    _cleanup_(freep) char *temporary = NULL;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        temporary = NULL;
        return -ENOMEM;
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(fd, old ? old->st_mode & 07777 : 0666 & ~mask) < 0) {
        int r = -errno;
        close(fd);
        unlink(temporary);
        return r;
    }
    *ret_temporary = TAKE_PTR(temporary);
    return fd;
}

int whole_file_begin(const char *path, struct whole_file *ret)
{
    struct stat status;
    bool is_there = stat(path, &status) == 0, is_regular = !is_there || S_ISREG(status.st_mode);
    /* A link stays, and what it names is replaced. */
    _cleanup_(freep) char *real = is_there && is_regular ? realpath(path, NULL) : strdup(path);
    _cleanup_(freep) char *temporary = NULL;

    if (!real)
        return -errno;
    int fd = is_regular ? open_temporary(real, is_there ? &status : NULL, &temporary)
                        : open(real, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return is_regular ? fd : -errno;
    FILE *stream = fdopen(fd, "w");
    if (!stream) {
        close(fd);
        if (temporary)
            unlink(temporary);
        return -ENOMEM;
    }
    *ret = (struct whole_file){stream, TAKE_PTR(real), TAKE_PTR(temporary)};
    return 0;
}

int whole_file_end(struct whole_file *file, int error)
{
    /* What could not be written before is tried once more, which says why. */
    errno = 0;
    if ((fflush(file->stream) != 0 || ferror(file->stream)) && error == 0)
        error = errno > 0 ? -errno : -EIO;
    /* Otherwise its name could be on the disk before its bytes. */
    if (error == 0 && file->temporary && fsync(fileno(file->stream)) < 0)
        error = -errno;
    if (fclose(file->stream) != 0 && error == 0)
        error = -errno;
    if (file->temporary && error == 0 && rename(file->temporary, file->path) < 0)
        error = -errno;
    if (file->temporary && error < 0)
        unlink(file->temporary);
    free(file->temporary);
    free(file->path);
    *file = (struct whole_file){0};
    return error;
}
