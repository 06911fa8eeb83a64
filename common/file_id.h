/* Which file a descriptor has open: its device and inode. Two descriptors with the same identity
 * have the same file open. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

struct file_id {
    dev_t device;
    ino_t inode;
};

/* False, with an identity that no file has, if `fd` is not open. May be called by a signal handler.
 */
static inline bool file_id_read(int fd, struct file_id *ret)
{
    struct stat status = {0};
    bool is_open = fstat(fd, &status) == 0;

    *ret = (struct file_id){status.st_dev, status.st_ino};
    return is_open;
}

static inline bool file_id_equals(const struct file_id *a, const struct file_id *b)
{
    return a->device == b->device && a->inode == b->inode;
}
