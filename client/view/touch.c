#include "client/view/touch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <unistd.h>

int touch_open(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (touch_is_seen(fd, &fd))
        return fd;
    close(fd);
    return -ENOTSUP;
}

bool touch_is_seen(int fd, const void *page)
{
    const uint64_t present = UINT64_C(1) << 63, swapped = UINT64_C(1) << 62;
    uint64_t entry;
    off64_t at = (off64_t)((uintptr_t)page / getauxval(AT_PAGESZ) * sizeof entry);

    return pread64(fd, &entry, sizeof entry, at) == sizeof entry && (entry & (present | swapped));
}
