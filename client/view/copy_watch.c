/* Each time, growth counts only up to the size of the unit that was read before, so that a
 * buffer that the program allocates once does not count as a copy. */
#include "client/view/copy_watch.h"

#include "client/view/real.h"
#include "common/cleanup.h"
#include "common/page.h"

#include <fcntl.h>

/* The private memory of this process; 0: unknown. */
static uint64_t count_anonymous_bytes(void)
{
    char text[128];
    unsigned long long resident, shared;
    _cleanup_(closep) int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%*u %llu %llu", &resident, &shared) != 2 || resident < shared)
        return 0;
    return (resident - shared) * system_page_bytes();
}

bool copy_watch_count(struct copy_watch *watch, uint64_t unit_bytes, uint64_t view_bytes,
                      uint64_t anonymous_bytes)
{
    enum { FAULTS_MIN = 4 }; /* the view needs at least this many units */
    uint64_t growth =
        anonymous_bytes > watch->anonymous_bytes ? anonymous_bytes - watch->anonymous_bytes : 0;

    if (watch->is_over || unit_bytes > view_bytes / FAULTS_MIN)
        return false;
    watch->read_bytes += watch->unit_bytes;
    watch->copied_bytes += growth < watch->unit_bytes ? growth : watch->unit_bytes;
    watch->unit_bytes = unit_bytes;
    watch->anonymous_bytes = anonymous_bytes;
    if (watch->read_bytes < view_bytes / 2)
        return false;
    watch->is_over = true;
    return watch->copied_bytes >= watch->read_bytes / 3 * 2;
}

bool copy_watch_note(struct copy_watch *watch, uint64_t unit_bytes, uint64_t view_bytes)
{
    return !watch->is_over &&
           copy_watch_count(watch, unit_bytes, view_bytes, count_anonymous_bytes());
}
