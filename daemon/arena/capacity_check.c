#include "daemon/arena/capacity_check.h"

#include "common/units.h"
#include "daemon/arena/headroom.h"
#include "daemon/system/procfs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int capacity_refuse(char *why, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, CAPACITY_WHY_MAX, format, arguments);
    va_end(arguments);
    return error;
}

uint64_t capacity_cost_bytes(uint64_t n_bytes, uint64_t page_bytes)
{
    uint64_t sum;
    return __builtin_add_overflow(n_bytes, n_bytes / page_bytes * sizeof(void *), &sum) ? UINT64_MAX
                                                                                        : sum;
}

int capacity_check(uint64_t capacity_bytes, uint64_t missing_bytes, uint64_t page_bytes, char *why)
{
    struct headroom headroom;
    int r = headroom_read("/proc", "/sys/fs/cgroup", &headroom);
    if (r < 0)
        return capacity_refuse(why, r, "cannot find out how much memory is available: %s",
                               strerror(-r));
    uint64_t needed = capacity_cost_bytes(missing_bytes, page_bytes),
             whole = capacity_cost_bytes(capacity_bytes, page_bytes);
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    if (whole > headroom.total_bytes)
        return capacity_refuse(
            why, -E2BIG,
            "the arena needs %s, but there can never be more than %s (%s); lower capacity=",
            size_format(whole, a), size_format(headroom.total_bytes, b), headroom.total_source);
    if (needed > headroom.available_bytes)
        return capacity_refuse(
            why, -ENOMEM,
            "the arena needs %s, but only %s are available (%s); lower capacity= or free "
            "memory",
            size_format(needed, a), size_format(headroom.available_bytes, b), headroom.source);
    return 0;
}

int capacity_check_pool(uint64_t capacity_bytes, uint64_t page_bytes, char *why)
{
    char path[128];
    uint64_t free_pages, reserved_pages, kib = page_bytes / 1024;
    static const char format[] = "/sys/kernel/mm/hugepages/hugepages-%llukB/%s_hugepages";
    snprintf(path, sizeof path, format, (unsigned long long)kib, "free");
    int r = procfs_read_number(path, &free_pages);
    if (r == 0) {
        snprintf(path, sizeof path, format, (unsigned long long)kib, "resv");
        r = procfs_read_number(path, &reserved_pages);
    }
    if (r < 0)
        return capacity_refuse(why, r, "cannot read %s: %s", path, strerror(-r));
    uint64_t needed = capacity_bytes / page_bytes;
    uint64_t available = free_pages > reserved_pages ? free_pages - reserved_pages : 0;
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    if (needed > available)
        return capacity_refuse(
            why, -ENOMEM,
            "the arena needs %llu huge pages of %s (%s), but only %llu are free in the "
            "pool; raise vm.nr_hugepages by %llu or lower capacity=",
            (unsigned long long)needed, size_format(page_bytes, a), size_format(capacity_bytes, b),
            (unsigned long long)available, (unsigned long long)(needed - available));
    return 0;
}

int capacity_check_now(uint64_t n_bytes, uint64_t page_bytes)
{
    struct headroom headroom;
    int r = headroom_read("/proc", "/sys/fs/cgroup", &headroom);
    if (r < 0)
        return r;
    return capacity_cost_bytes(n_bytes, page_bytes) > headroom.available_bytes ? -ENOMEM : 0;
}
