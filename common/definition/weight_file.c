/* Checks weight files. Clients or the daemon open them, and the loader reads them. */
#include "common/definition/weight_file.h"

#include "common/cleanup.h"
#include "common/passed_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int weight_file_init(struct weight_file *file, int fd, const char *path)
{
    _cleanup_(passed_fd_closep) int owned = fd;
    struct stat status;
    if (fstat(owned, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EINVAL;
    int flags = fcntl(owned, F_GETFL);
    if (flags < 0)
        return -errno;
    if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
        return -EBADF;

    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    *file = (struct weight_file){
        .path = copy,
        .fd = TAKE_FD(owned),
        .device = (uint64_t)status.st_dev,
        .inode = (uint64_t)status.st_ino,
        .bytes = (uint64_t)status.st_size,
        .modified = status.st_mtim,
        .status_changed = status.st_ctim,
    };
    return 0;
}

void weight_file_done(struct weight_file *file)
{
    passed_fd_close(file->fd);
    free(file->path);
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool weight_file_changed(const struct weight_file *file)
{
    struct stat status;
    return fstat(file->fd, &status) < 0 || (uint64_t)status.st_size != file->bytes ||
           !same_time(status.st_mtim, file->modified) ||
           (status.st_nlink > 0 && !same_time(status.st_ctim, file->status_changed));
}

static struct timespec time_of(const struct statx_timestamp *stamp)
{
    return (struct timespec){.tv_sec = stamp->tv_sec, .tv_nsec = stamp->tv_nsec};
}

int weight_file_look(int fd, struct weight_file_look *ret)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status) < 0)
        return -errno;
    *ret = (struct weight_file_look){
        .now = {.fd = -1,
                .device = (uint64_t)makedev(status.stx_dev_major, status.stx_dev_minor),
                .inode = status.stx_ino,
                .bytes = status.stx_size,
                .modified = time_of(&status.stx_mtime),
                .status_changed = time_of(&status.stx_ctime)},
        .is_deleted = status.stx_nlink == 0,
    };
    return 0;
}

bool weight_file_is_same(const struct weight_file *file, const struct weight_file_look *look)
{
    return file->device == look->now.device && file->inode == look->now.inode;
}

bool weight_file_is_intact(const struct weight_file *file, const struct weight_file_look *look)
{
    return look->now.bytes == file->bytes && same_time(look->now.modified, file->modified) &&
           (look->is_deleted || same_time(look->now.status_changed, file->status_changed));
}

bool weight_file_deleted(const struct weight_file *file)
{
    struct weight_file_look look;
    char link[32], target[sizeof "/memfd:"] = "";
    if (weight_file_look(file->fd, &look) < 0 || !look.is_deleted)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file->fd);
    return readlink(link, target, sizeof target - 1) > 0 && strcmp(target, "/memfd:") != 0;
}

const char *weight_file_id(const struct weight_file *file, char text[static WEIGHT_FILE_ID_MAX])
{
    snprintf(text, WEIGHT_FILE_ID_MAX, "%" PRIx64 ":%" PRIx64 ":%" PRIx64 ":%jx.%lx", file->device,
             file->inode, file->bytes, (uintmax_t)file->modified.tv_sec,
             (unsigned long)file->modified.tv_nsec);
    return text;
}
