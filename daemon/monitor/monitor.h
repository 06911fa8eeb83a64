/* Reads what the operating system says about this process. A sample contains no counter of the
 * daemon itself, because the daemon's counters are compared with the sample.
 *
 * Sources: proc(5) status, stat, smaps, meminfo; fstat(2) of the arena's memfd (st_blocks is exact,
 * and includes pages that another process committed); Documentation/accounting/psi.rst. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/monitor/memory_history.h"

#include <stdbool.h>
#include <stdint.h>

struct sample {
    uint64_t sampled_at_usec; /* wall clock */
    uint64_t rss_bytes;       /* VmRSS plus HugetlbPages, which VmRSS leaves out */
    uint64_t rss_anon_bytes, rss_file_bytes, rss_shmem_bytes, hugetlb_bytes;
    uint64_t peak_rss_bytes;   /* VmHWM plus HugetlbPages */
    uint64_t swap_bytes;       /* VmSwap, which leaves the arena out */
    uint64_t arena_rss_bytes;  /* RssShmem plus HugetlbPages */
    uint64_t arena_file_bytes; /* st_blocks of the memfd */
    uint64_t overhead_bytes;   /* rss_bytes less arena_rss_bytes */
    uint64_t ledger_bytes;     /* what the ledger said at the same moment */
    int64_t drift_bytes; /* arena_file_bytes less ledger_bytes and what loads in flight may add */
    uint64_t arena_swapped_bytes; /* of the arena, from its smaps entry */
    bool aligned; /* drift within a page, no arena page swapped out, all in arena_rss_bytes */
    uint64_t available_bytes; /* MemAvailable */
    double cpu_percent;       /* of one core, since the previous sample */
    double pressure_avg10;    /* memory, "some"; negative if the kernel has no such file */
};

struct monitor;

/* `backing` may be NULL (simulation): the arena then counts as 0 bytes. `proc` is "/proc", except
 * in tests. Returns 0 or a negative errno. */
int monitor_new(const struct backing *backing, const char *proc, struct monitor **ret);
struct monitor *monitor_free(struct monitor *monitor);
DEFINE_CLEANUP(struct monitor *, monitor_free);

/* Takes a sample. Returns 0; or a negative errno, and then the previous sample stays. */
int monitor_sample(struct monitor *monitor);

const struct sample *monitor_last(const struct monitor *monitor); /* borrowed */
uint64_t monitor_n_samples(const struct monitor *monitor);
/* Keeps the history in that file (borrowed), and takes over what is in it. */
void monitor_keep_history(struct monitor *monitor, int fd);
const struct memory_history *monitor_history(const struct monitor *monitor); /* borrowed */
