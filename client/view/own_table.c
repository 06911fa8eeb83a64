/* close_range(2) makes the new table and empties it, since Linux 5.9. Containers often forbid
 * unshare(2), which older kernels need. */
#include "client/view/own_table.h"

#include "client/view/real.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdlib.h>

#include <dirent.h>

/* Closes the descriptors that the new table was copied with. */
static int close_copies(void)
{
    DIR *directory = opendir("/proc/thread-self/fd");
    if (!directory)
        return -errno;
    for (struct dirent *entry; (entry = readdir(directory));) {
        int fd = atoi(entry->d_name);
        if (fd > STDERR_FILENO && fd != dirfd(directory))
            close(fd);
    }
    closedir(directory);
    return 0;
}

int own_table_make(void)
{
    int r = 0;

    if (syscall(SYS_close_range, STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_UNSHARE) < 0)
        r = unshare(CLONE_FILES) < 0 ? -errno : close_copies();
    if (r < 0)
        return r;
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    return 0;
}
