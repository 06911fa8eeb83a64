/* Owns one question: how much more memory may this process commit?
 *
 * The answer is the smallest of two kinds of figures: what the machine has available, and what each
 * memory cgroup still allows, from the process's own up to its hierarchy's root. Page cache that
 * the kernel can drop counts as available: MemAvailable includes it, and a cgroup at its limit
 * reclaims it before it kills. Only clean file pages count: shared memory is not on the file lists,
 * and pages that are dirty or being written must wait for a disk. Swap never counts.
 *
 * Sources: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst. */
#include "daemon/arena/headroom.h"

#include "common/cleanup.h"
#include "daemon/system/procfs.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

struct limit {
    bool unified;      /* v2 */
    const char *mount; /* below /sys/fs/cgroup */
    const char *limit, *usage;
};

static const struct limit limits[] = {
    {true, "", "memory.max", "memory.current"},
    {true, "/unified", "memory.max", "memory.current"},
    {false, "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"},
    {false, "/memory", "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"},
};

/* The clean page cache of a cgroup and of those below it; 0 if unknown. */
static uint64_t reclaimable_bytes(const char *directory, bool is_v2)
{
    const char *prefix = is_v2 ? "" : "total_";
    _cleanup_(closep) int fd = procfs_open(directory, "memory.stat");
    if (fd < 0)
        return 0;
    /* v1 has the same names, except that two of them lack "file_" at the beginning, and that the
     * sums over a cgroup's whole subtree have a prefix. */
    static const struct {
        const char *name;
        bool dirty;
    } keys[] = {{"inactive_file ", false}, {"active_file ", false}, {"file_dirty ", true},
                {"file_writeback ", true}, {"dirty ", true},        {"writeback ", true}};
    struct procfs_reader reader;
    procfs_begin(&reader, fd);
    uint64_t cache = 0, dirty = 0;
    size_t n_prefix = strlen(prefix);
    char *line;
    while (procfs_next_line(&reader, &line) > 0) {
        if (strncmp(line, prefix, n_prefix) != 0)
            continue;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            uint64_t value, *sum = keys[i].dirty ? &dirty : &cache;
            if (procfs_number(line + n_prefix, keys[i].name, &value) &&
                __builtin_add_overflow(*sum, value, sum))
                return 0;
        }
    }
    return cache > dirty ? cache - dirty : 0;
}

uint64_t headroom_below_limit(const char *directory, bool is_v2, uint64_t limit_bytes,
                              uint64_t usage_bytes)
{
    uint64_t reclaimable = reclaimable_bytes(directory, is_v2);
    uint64_t held = usage_bytes > reclaimable ? usage_bytes - reclaimable : 0;
    return limit_bytes > held ? limit_bytes - held : 0;
}

static void name_source(char *source, const struct limit *limit, const char *path)
{
    snprintf(source, HEADROOM_SOURCE_MAX, "%s of %.200s", limit->limit, *path ? path : "/");
}

/* Lowers `headroom` to what the cgroup `path` ("" is the root) allows, if that is less. */
static void apply(const struct limit *limit, const char *root, const char *path,
                  struct headroom *headroom)
{
    char directory[PATH_MAX];
    uint64_t maximum, usage;
    int n = snprintf(directory, sizeof directory, "%s%s%s", root, limit->mount, path);
    if (n < 0 || (size_t)n >= sizeof directory ||
        procfs_read_number_in(directory, limit->limit, &maximum) < 0 || maximum == UINT64_MAX)
        return;
    if (maximum < headroom->total_bytes) {
        headroom->total_bytes = maximum;
        name_source(headroom->total_source, limit, path);
    }
    if (procfs_read_number_in(directory, limit->usage, &usage) < 0)
        return;
    uint64_t available = headroom_below_limit(directory, limit->unified, maximum, usage);
    if (available >= headroom->available_bytes)
        return;
    headroom->available_bytes = available;
    name_source(headroom->source, limit, path);
}

/* Applies the process's own cgroup and all above it. A cgroup of another cgroup namespace, or
 * outside of the container, is not visible here; then only its visible ancestors and the root
 * count. */
static void apply_ancestors(const struct limit *limit, const char *root, const char *own,
                            struct headroom *headroom)
{
    char path[PROCFS_LINE_MAX + 1];
    strcpy(path, own);
    if (strncmp(path, "/..", 3) == 0)
        *path = '\0'; /* the cgroup lies above the namespace's root, and so above the mount */
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        path[--n] = '\0';
    for (;;) {
        apply(limit, root, path, headroom);
        char *slash = strrchr(path, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* Whether a list of v1 controllers has that of memory: "cpu,memory:". */
static bool has_memory(const char *list)
{
    static const char name[] = "memory";
    for (;;) {
        size_t n = strcspn(list, ",:");
        if (n == sizeof name - 1 && memcmp(list, name, n) == 0)
            return true;
        if (list[n] != ',')
            return false;
        list += n + 1;
    }
}

const char *headroom_cgroup_path(const char *line, bool is_v2)
{
    const char *controllers = strchr(line, ':');
    const char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path || path[1] != '/')
        return NULL;
    return (is_v2 ? path == controllers + 1 : has_memory(controllers + 1)) ? path + 1 : NULL;
}

int headroom_read(const char *proc, const char *sys_fs_cgroup, struct headroom *ret)
{
    _cleanup_(closep) int meminfo = procfs_open(proc, "meminfo");
    if (meminfo < 0)
        return meminfo;
    struct headroom headroom;
    const char *name;
    int r = procfs_available(meminfo, &headroom.available_bytes, &name);
    if (r < 0)
        return r;
    snprintf(headroom.source, sizeof headroom.source, "%s", name);
    r = procfs_total(meminfo, &headroom.total_bytes);
    if (r < 0)
        return r;
    strcpy(headroom.total_source, "MemTotal");

    _cleanup_(closep) int cgroup = procfs_open(proc, "self/cgroup");
    struct procfs_reader reader;
    procfs_begin(&reader, cgroup);
    char *line;
    while (cgroup >= 0 && procfs_next_line(&reader, &line) > 0)
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            const char *path = headroom_cgroup_path(line, limits[i].unified);
            if (path)
                apply_ancestors(&limits[i], sys_fs_cgroup, path, &headroom);
        }
    *ret = headroom;
    return 0;
}
