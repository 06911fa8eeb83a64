/* How much memory this process may have, and how much of that it can still commit, according to the
 * machine's figures and those of every memory cgroup above the process (v1 and v2). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { HEADROOM_SOURCE_MAX = 256 };

struct headroom {
    uint64_t total_bytes;     /* the smallest of MemTotal and all limits */
    uint64_t available_bytes; /* the smallest of MemAvailable and what each limit leaves */
    /* Where each figure comes from: "MemTotal", "MemAvailable", "memory.max of /a/b". */
    char total_source[HEADROOM_SOURCE_MAX], source[HEADROOM_SOURCE_MAX];
};

/* `proc` and `sys_fs_cgroup` are "/proc" and "/sys/fs/cgroup", except in tests. Returns 0, or a
 * negative errno if meminfo cannot be read. Skips a cgroup that cannot be read. */
int headroom_read(const char *proc, const char *sys_fs_cgroup, struct headroom *ret);

/* How much a cgroup may still take below a limit, if all its clean page cache were dropped. */
uint64_t headroom_below_limit(const char *directory, bool is_v2, uint64_t limit_bytes,
                              uint64_t usage_bytes);

/* The cgroup's path in a line of /proc/self/cgroup, if the line is about v2 ("0::/path"), or about
 * the memory controller of v1 ("4:cpu,memory:/path"); else NULL. */
const char *headroom_cgroup_path(const char *line, bool is_v2);
