/* A fixed array: one file for each of 64 views, and a few descriptors for the connection and the
 * faults. The file that a descriptor had when it was remembered distinguishes it from a later
 * descriptor with the same number. */
#include "client/view/own_fds.h"

#include "client/view/real.h"
#include "common/file_id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

enum { OWN_FDS_MAX = 128, OWN_FDS_FROM = 600 };

static atomic_int own[OWN_FDS_MAX];       /* the number plus one; 0: free */
static struct file_id files[OWN_FDS_MAX]; /* parallel to `own`; written before the number */

void own_fd_mark(int fd)
{
    struct file_id file;

    (void)file_id_read(fd, &file);
    for (unsigned i = 0; i < OWN_FDS_MAX; i++) {
        int none = 0;
        if (!atomic_compare_exchange_strong(&own[i], &none, -1))
            continue;
        files[i] = file;
        atomic_store(&own[i], fd + 1);
        return;
    }
}

bool own_fd_is_intact(int fd)
{
    struct file_id file;

    for (unsigned i = 0; fd >= 0 && i < OWN_FDS_MAX; i++)
        if (atomic_load(&own[i]) == fd + 1)
            return file_id_read(fd, &file) && file_id_equals(&file, &files[i]);
    return false;
}

int own_fd_keep(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS_FROM);
    if (high < 0) /* because of a low limit it keeps its number */
        high = fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : fd;
    else
        real_close(fd);
    if (high >= 0)
        own_fd_mark(high);
    return high;
}

bool own_fd_forget(int fd)
{
    bool is_intact = own_fd_is_intact(fd);

    for (unsigned i = 0; i < OWN_FDS_MAX; i++) {
        int value = fd + 1;
        if (atomic_compare_exchange_strong(&own[i], &value, 0))
            break;
    }
    return is_intact;
}

void own_fd_close(int fd)
{
    if (own_fd_forget(fd))
        real_close(fd);
}

bool own_fd_is(int fd)
{
    return fd >= 0 && own_fd_first((unsigned)fd, (unsigned)fd) == fd;
}

int own_fd_first(unsigned first, unsigned last)
{
    int found = -1;

    for (unsigned i = 0; i < OWN_FDS_MAX; i++) {
        int fd = atomic_load(&own[i]) - 1;
        if (fd >= 0 && (unsigned)fd >= first && (unsigned)fd <= last && (found < 0 || fd < found))
            found = fd;
    }
    return found;
}
