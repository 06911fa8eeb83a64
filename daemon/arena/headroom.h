/* How much memory this process could still commit, as the operating system tells: MemAvailable and
 * the limits of every memory cgroup above it (v1 and v2). */
#pragma once

#include <stdint.h>

enum { HEADROOM_SOURCE_MAX = 256 };

struct headroom {
    uint64_t available_bytes; /* the smallest of all */
    /* Where it comes from: "MemAvailable", "memory.max of /a/b". */
    char source[HEADROOM_SOURCE_MAX];
};

/* `proc` and `sys_fs_cgroup` are "/proc" and "/sys/fs/cgroup" but in tests. 0 or a negative errno
 * if MemAvailable cannot be read; an unreadable cgroup is passed over. */
int headroom_read(const char *proc, const char *sys_fs_cgroup, struct headroom *ret);
