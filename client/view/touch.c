#include "client/view/touch.h"

#include "common/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

int touch_open(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

bool touch_is_seen(int fd, const void *page)
{
    const uint64_t present = UINT64_C(1) << 63, swapped = UINT64_C(1) << 62;
    uint64_t entry;
    off64_t at = (off64_t)((uintptr_t)page / system_page_bytes() * sizeof entry);

    return pread64(fd, &entry, sizeof entry, at) == sizeof entry && (entry & (present | swapped));
}
