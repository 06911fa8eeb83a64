#include "daemon/monitor/pressure_source.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "daemon/arena/headroom.h"
#include "daemon/system/procfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The mounts of cgroups that have a memory controller, and how it names its files. */
struct pressure_mount {
    const char *path; /* below /sys/fs/cgroup */
    bool is_v2;
    const char *limit, *high, *usage; /* `high` is NULL in v1 */
    const char *hits, *const *hits_keys;
};

static const char *const v1_hits[] = {"", NULL}, *const v2_hits[] = {"high ", "max ", NULL};
static const struct pressure_mount mounts[] = {
    {"", true, "memory.max", "memory.high", "memory.current", "memory.events", v2_hits},
    {"/unified", true, "memory.max", "memory.high", "memory.current", "memory.events", v2_hits},
    {"/memory", false, "memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "memory.failcnt",
     v1_hits},
};

static int open_below(const char *directory, const char *file)
{
    int fd = procfs_open(directory, file);
    return fd < 0 ? -1 : fd;
}

/* Takes that directory if the controller's files are in it. */
static bool take_cgroup(struct pressure_source *source, const struct pressure_mount *mount,
                        const char *cgroups, const char *path)
{
    int n = snprintf(source->cgroup, sizeof source->cgroup, "%s%s%s", cgroups, mount->path, path);
    _cleanup_(closep) int usage =
        n < 0 || (size_t)n >= sizeof source->cgroup ? -1 : open_below(source->cgroup, mount->usage);
    return usage >= 0;
}

/* Finds the daemon's own cgroup. From within a container its path may not be visible; the mount's
 * root is then the container's cgroup. */
static void find_cgroup(struct pressure_source *source, const char *proc, const char *cgroups)
{
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        const struct pressure_mount *mount = &mounts[i];
        _cleanup_(closep) int fd = open_below(proc, "self/cgroup");
        struct procfs_reader reader;
        procfs_begin(&reader, fd);
        char *line;
        while (fd >= 0 && procfs_next_line(&reader, &line) > 0) {
            const char *path = headroom_cgroup_path(line, mount->is_v2);
            if (!path || (!take_cgroup(source, mount, cgroups, path) &&
                          !take_cgroup(source, mount, cgroups, "")))
                continue;
            source->mount = mount;
            source->hits_fd = open_below(source->cgroup, mount->hits);
            if (mount->is_v2)
                source->own_stalls_fd = open_below(source->cgroup, "memory.pressure");
            return;
        }
    }
}

/* Reads "some avg10=". Integers, so that the program's locale does not matter. Returns a negative
 * number if the file does not say it. */
static double read_stalls(int fd)
{
    struct procfs_reader reader;
    unsigned whole, hundredths;
    char *line;

    procfs_begin(&reader, fd);
    if (fd >= 0 && procfs_next_line(&reader, &line) > 0 &&
        sscanf(line, "some avg10=%u.%2u", &whole, &hundredths) == 2)
        return whole + hundredths / 100.0;
    return -1;
}

int pressure_source_open(struct pressure_source *source, const char *proc, const char *cgroups)
{
    *source = (struct pressure_source){
        .stalls_fd = open_below(proc, "pressure/memory"),
        .meminfo_fd = procfs_open(proc, "meminfo"),
        .vmstat_fd = open_below(proc, "vmstat"),
        .own_stalls_fd = -1,
        .hits_fd = -1,
    };
    if (source->meminfo_fd < 0) {
        int r = source->meminfo_fd;
        pressure_source_close(source);
        return r;
    }
    find_cgroup(source, proc, cgroups);
    return 0;
}

void pressure_source_close(struct pressure_source *source)
{
    closep(&source->stalls_fd);
    closep(&source->meminfo_fd);
    closep(&source->vmstat_fd);
    closep(&source->own_stalls_fd);
    closep(&source->hits_fd);
    source->stalls_fd = source->meminfo_fd = source->vmstat_fd = -1;
    source->own_stalls_fd = source->hits_fd = -1;
}

bool pressure_source_has_stalls(const struct pressure_source *source)
{
    return read_stalls(source->stalls_fd) >= 0;
}

/* Adds up the numbers of the lines with these keys. UINT64_MAX if there are none. */
static uint64_t read_sum(int fd, const char *const *keys)
{
    struct procfs_reader reader;
    uint64_t sum = UINT64_MAX, value;
    char *line;

    procfs_begin(&reader, fd);
    while (fd >= 0 && procfs_next_line(&reader, &line) > 0)
        for (const char *const *key = keys; *key; key++)
            if (procfs_number(line, *key, &value))
                sum = sum == UINT64_MAX ? value : sum + value;
    return sum;
}

static uint64_t read_below(const char *directory, const char *file)
{
    uint64_t value;
    return procfs_read_number_in(directory, file, &value) < 0 ? UINT64_MAX : value;
}

static void read_cgroup(const struct pressure_source *source, struct pressure_reading *reading)
{
    const struct pressure_mount *mount = source->mount;
    const char *directory = source->cgroup;

    if (!mount)
        return;
    uint64_t limit = read_below(directory, mount->limit);
    uint64_t high = mount->high ? read_below(directory, mount->high) : UINT64_MAX;
    uint64_t usage = read_below(directory, mount->usage);
    if (limit > high)
        limit = high;
    reading->own_stalled_percent = read_stalls(source->own_stalls_fd);
    reading->limit_hits = read_sum(source->hits_fd, mount->hits_keys);
    /* v1 writes a number near 2^63 if there is no limit. */
    if (usage == UINT64_MAX || limit > (uint64_t)INT64_MAX / 2)
        return;
    reading->limit_bytes = limit;
    reading->limit_free_bytes = headroom_below_limit(directory, mount->is_v2, limit, usage);
}

int pressure_source_read(const struct pressure_source *source, struct pressure_reading *ret)
{
    static const char *const refaults[] = {"workingset_refault ", "workingset_refault_anon ",
                                           "workingset_refault_file ", NULL};
    struct pressure_reading reading = {
        .at_usec = clock_monotonic_usec(),
        .stalled_percent = read_stalls(source->stalls_fd),
        .own_stalled_percent = -1,
        .limit_hits = UINT64_MAX,
        .limit_bytes = UINT64_MAX,
        .limit_free_bytes = UINT64_MAX,
        .refaults = read_sum(source->vmstat_fd, refaults),
    };
    const char *name;
    int r = procfs_available(source->meminfo_fd, &reading.available_bytes, &name);
    if (r == 0)
        r = procfs_total(source->meminfo_fd, &reading.total_bytes);
    if (r < 0)
        return r;
    read_cgroup(source, &reading);
    *ret = reading;
    return 0;
}
