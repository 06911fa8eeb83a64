/* Where the system says how short memory is: the kernel's measure of stalls, of the machine and of
 * the daemon's own cgroup; the cgroup's count of times at its limits; MemAvailable; and the count
 * of refaults in vmstat. Whatever the kernel does not have is left out of the readings.
 *
 * All are files of proc and of cgroups, v1 or v2, which the kernel answers from memory. */
#pragma once

#include "daemon/monitor/pressure.h"

#include <limits.h>

struct pressure_source {
    int stalls_fd, meminfo_fd, vmstat_fd; /* -1: none */
    int own_stalls_fd, hits_fd;           /* of the cgroup */
    const struct pressure_mount *mount;   /* where the cgroup is; NULL: it cannot be seen */
    char cgroup[PATH_MAX];                /* its directory */
};

/* `proc` is "/proc" and `cgroups` is "/sys/fs/cgroup", except in tests. Returns 0 or a negative
 * errno. */
int pressure_source_open(struct pressure_source *source, const char *proc, const char *cgroups);
void pressure_source_close(struct pressure_source *source);

/* Whether the kernel measures stalls of the machine. Raspberry Pi OS does so only when it is booted
 * with psi=1. */
bool pressure_source_has_stalls(const struct pressure_source *source);

/* Returns 0 or a negative errno. */
int pressure_source_read(const struct pressure_source *source, struct pressure_reading *ret);
