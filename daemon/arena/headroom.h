/* How much memory this process may have, and how much of that it could still commit: what the
 * operating system says of the machine and of every memory cgroup above the process (v1 and v2). */
#pragma once

#include <stdint.h>

enum { HEADROOM_SOURCE_MAX = 256 };

struct headroom {
    uint64_t total_bytes;     /* the smallest of MemTotal and all limits */
    uint64_t available_bytes; /* the smallest of MemAvailable and what each limit leaves */
    /* Where each comes from: "MemTotal", "MemAvailable", "memory.max of /a/b". */
    char total_source[HEADROOM_SOURCE_MAX], source[HEADROOM_SOURCE_MAX];
};

/* `proc` and `sys_fs_cgroup` are "/proc" and "/sys/fs/cgroup" but in tests. 0 or a negative errno
 * if meminfo cannot be read; an unreadable cgroup is passed over. */
int headroom_read(const char *proc, const char *sys_fs_cgroup, struct headroom *ret);
