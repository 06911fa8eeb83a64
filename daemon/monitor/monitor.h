/* What the operating system says about this process. The daemon's own counters never feed a sample:
 * the sample is what they are compared with.
 *
 * Sources: proc(5) status, stat, smaps, meminfo; fstat(2) of the arena's memfd (st_blocks is exact
 * and also sees pages that somebody else committed); Documentation/accounting/psi.rst. */
#pragma once

#include "daemon/arena/backing.h"

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
    uint64_t overhead_bytes;   /* rss_bytes less the arena's */
    uint64_t ledger_bytes;     /* what the ledger said at the same moment, for the reader */
    int64_t drift_bytes; /* arena_file_bytes less the ledger's, what may be in flight allowed for */
    uint64_t arena_swapped_bytes; /* of the arena, found through its smaps entry */
    bool aligned; /* drift within a page, nothing swapped, all of it in arena_rss_bytes */
    uint64_t available_bytes; /* MemAvailable */
    double cpu_percent;       /* of one core, since the previous sample */
    double pressure_avg10;    /* memory, "some"; negative where the kernel has none */
};

struct monitor;

/* `backing` may be NULL (simulation): the arena then counts as nothing. `proc` is "/proc" but in
 * tests. 0 or a negative errno. */
int monitor_new(const struct backing *backing, const char *proc, struct monitor **ret);
struct monitor *monitor_free(struct monitor *monitor);
DEFINE_CLEANUP(struct monitor *, monitor_free);

/* Reads everything once. 0 or a negative errno, and then the previous sample stands. */
int monitor_sample(struct monitor *monitor);

const struct sample *monitor_last(const struct monitor *monitor); /* borrowed */
uint64_t monitor_n_samples(const struct monitor *monitor);
