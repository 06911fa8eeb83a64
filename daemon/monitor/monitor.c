/* Owns the descriptors of the /proc files that a sample is read from, and the last sample.
 *
 * Invariant: every figure of a sample comes from the operating system, except ledger_bytes,
 * drift_bytes and aligned. Those three compare it with the backing's ledger. The ledger changes
 * only on this thread, so it is one consistent count. Loads in flight may have committed any part
 * of the pending bytes.
 *
 * Leaves to others: when to take a sample, and what a bad sample means. */
#include "daemon/monitor/monitor.h"

#include "common/clock.h"
#include "common/page.h"
#include "daemon/system/procfs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { RSS_LAG_PAGES = 64 }; /* by how much the kernel's RSS counters may lag for each thread */

struct monitor {
    const struct backing *backing;
    int status_fd, stat_fd, meminfo_fd;
    int smaps_fd, pressure_fd; /* -1 if the kernel has no such file */
    uint64_t page_bytes;       /* of the system */
    uint64_t ticks_per_second;
    uint64_t cpu_ticks, cpu_at_usec; /* at the previous sample; the time counts from boot */
    uint64_t n_samples;
    struct sample last;
    struct memory_history history;
};

int monitor_new(const struct backing *backing, const char *proc, struct monitor **ret)
{
    _cleanup_(monitor_freep) struct monitor *monitor = malloc(sizeof *monitor);
    if (!monitor)
        return -ENOMEM;
    *monitor = (struct monitor){
        .backing = backing,
        .status_fd = procfs_open(proc, "self/status"),
        .stat_fd = procfs_open(proc, "self/stat"),
        .meminfo_fd = procfs_open(proc, "meminfo"),
        .smaps_fd = procfs_open(proc, "self/smaps"),
        .pressure_fd = procfs_open(proc, "pressure/memory"),
        .page_bytes = system_page_bytes(),
        .ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK),
    };
    if (monitor->status_fd < 0)
        return monitor->status_fd;
    if (monitor->stat_fd < 0)
        return monitor->stat_fd;
    if (monitor->meminfo_fd < 0)
        return monitor->meminfo_fd;
    *ret = TAKE_PTR(monitor);
    return 0;
}

struct monitor *monitor_free(struct monitor *monitor)
{
    if (!monitor)
        return NULL;
    closep(&monitor->status_fd);
    closep(&monitor->stat_fd);
    closep(&monitor->meminfo_fd);
    closep(&monitor->smaps_fd);
    closep(&monitor->pressure_fd);
    free(monitor);
    return NULL;
}

/* The process's own figures, and the number of its threads. */
static int read_status(const struct monitor *monitor, struct sample *sample, uint64_t *ret_threads)
{
    uint64_t rss = 0, threads = 0;
    const struct {
        const char *key;
        uint64_t *value;
        bool required; /* the other keys depend on the kernel's configuration */
    } keys[] = {
        {"VmHWM:", &sample->peak_rss_bytes, false},
        {"VmRSS:", &rss, true},
        {"RssAnon:", &sample->rss_anon_bytes, true},
        {"RssFile:", &sample->rss_file_bytes, true},
        {"RssShmem:", &sample->rss_shmem_bytes, true},
        {"VmSwap:", &sample->swap_bytes, false},
        {"HugetlbPages:", &sample->hugetlb_bytes, false},
        {"Threads:", &threads, true},
    };
    enum { N_KEYS = sizeof keys / sizeof *keys };
    bool found[N_KEYS] = {0};
    struct procfs_reader reader;
    procfs_begin(&reader, monitor->status_fd);
    char *line;
    int r;
    while ((r = procfs_next_line(&reader, &line)) > 0)
        for (size_t i = 0; i < N_KEYS; i++)
            found[i] |= procfs_number(line, keys[i].key, keys[i].value);
    if (r < 0)
        return r;
    for (size_t i = 0; i < N_KEYS; i++)
        if (keys[i].required && !found[i])
            return -ENODATA;
    sample->rss_bytes = rss + sample->hugetlb_bytes;
    sample->peak_rss_bytes += sample->hugetlb_bytes;
    sample->arena_rss_bytes = sample->rss_shmem_bytes + sample->hugetlb_bytes;
    /* The kernel reads the counters one by one, so they may not add up for a moment. */
    sample->overhead_bytes = sample->rss_bytes > sample->arena_rss_bytes
                                 ? sample->rss_bytes - sample->arena_rss_bytes
                                 : 0;
    *ret_threads = threads;
    return 0;
}

/* CPU time used and the process's start, in ticks. */
static int read_cpu(const struct monitor *monitor, uint64_t *ret_ticks, uint64_t *ret_start_ticks)
{
    struct procfs_reader reader;
    procfs_begin(&reader, monitor->stat_fd);
    char *line;
    int r = procfs_next_line(&reader, &line);
    if (r < 0)
        return r;
    /* The second field is the program's name in brackets. The name may contain any character. */
    char *field = r > 0 ? strrchr(line, ')') : NULL;
    uint64_t user = 0, system = 0;
    for (unsigned i = 3; field && i <= 22; i++) {
        field = strchr(field + 1, ' ');
        uint64_t value;
        if (!field || i < 14 || !procfs_number(field, "", &value))
            continue;
        if (i == 14) {
            user = value;
        } else if (i == 15) {
            system = value;
        } else if (i == 22) {
            *ret_ticks = user + system;
            *ret_start_ticks = value;
            return 0;
        }
    }
    return -ENODATA;
}

static double read_pressure(const struct monitor *monitor)
{
    if (monitor->pressure_fd < 0)
        return -1;
    struct procfs_reader reader;
    procfs_begin(&reader, monitor->pressure_fd);
    char *line;
    unsigned whole, hundredths;
    /* Read as integers, so that the program's locale does not matter. */
    if (procfs_next_line(&reader, &line) > 0 &&
        sscanf(line, "some avg10=%u.%2u", &whole, &hundredths) == 2)
        return whole + hundredths / 100.0;
    return -1;
}

/* Compares the operating system's figures for the arena with the ledger. */
static int compare(const struct monitor *monitor, uint64_t n_threads, struct sample *sample)
{
    uint64_t slack_bytes = n_threads * RSS_LAG_PAGES * monitor->page_bytes;
    uint64_t page_bytes = 0, mapped_bytes = sample->arena_rss_bytes;
    const struct backing *backing = monitor->backing;
    if (backing) {
        struct stat status;
        if (fstat(backing_fd(backing), &status) < 0)
            return -errno;
        sample->arena_file_bytes = (uint64_t)status.st_blocks * 512;
        sample->ledger_bytes = backing_committed_bytes(backing);
        page_bytes = backing_page_bytes(backing);
        uint64_t allowed = backing_pending_bytes(backing) + backing_ahead_bytes(backing);
        sample->drift_bytes = (int64_t)(sample->arena_file_bytes - sample->ledger_bytes);
        if (sample->drift_bytes > 0)
            sample->drift_bytes = (uint64_t)sample->drift_bytes > allowed
                                      ? sample->drift_bytes - (int64_t)allowed
                                      : 0;
        slack_bytes += allowed;
        struct procfs_mapping mapping;
        if (mapped_bytes + slack_bytes < sample->arena_file_bytes && monitor->smaps_fd >= 0 &&
            procfs_mapping(monitor->smaps_fd, backing_base(backing),
                           backing_capacity_bytes(backing), &mapping) == 0) {
            sample->arena_swapped_bytes = mapping.swap_bytes;
            /* smaps counts page by page. The counters may lag even further on a machine with many
             * CPUs. */
            if (mapped_bytes < mapping.rss_bytes)
                mapped_bytes = mapping.rss_bytes;
        }
    }
    uint64_t apart = mapped_bytes > sample->arena_file_bytes
                         ? mapped_bytes - sample->arena_file_bytes
                         : sample->arena_file_bytes - mapped_bytes;
    sample->aligned = (uint64_t)llabs(sample->drift_bytes) <= page_bytes &&
                      sample->arena_swapped_bytes == 0 && apart <= slack_bytes;
    return 0;
}

int monitor_sample(struct monitor *monitor)
{
    struct sample sample = {
        .sampled_at_usec = clock_realtime_usec(),
        .pressure_avg10 = read_pressure(monitor),
    };
    uint64_t n_threads, ticks, start_ticks;
    const char *name;
    int r;
    if ((r = read_status(monitor, &sample, &n_threads)) < 0 ||
        (r = compare(monitor, n_threads, &sample)) < 0 ||
        (r = read_cpu(monitor, &ticks, &start_ticks)) < 0 ||
        (r = procfs_available(monitor->meminfo_fd, &sample.available_bytes, &name)) < 0)
        return r;

    /* The process's start time counts from boot and includes the time in which the machine
     * slept. */
    uint64_t now_usec = clock_boottime_usec();
    uint64_t since_usec = monitor->n_samples > 0
                              ? monitor->cpu_at_usec
                              : (uint64_t)(start_ticks * 1e6 / monitor->ticks_per_second);
    if (now_usec > since_usec && ticks >= monitor->cpu_ticks)
        sample.cpu_percent = 100.0 *
                             ((ticks - monitor->cpu_ticks) * 1e6 / monitor->ticks_per_second) /
                             (now_usec - since_usec);
    monitor->cpu_ticks = ticks;
    monitor->cpu_at_usec = now_usec;
    monitor->last = sample;
    monitor->n_samples++;
    memory_history_note(&monitor->history, &(struct memory_point){now_usec, sample.rss_bytes,
                                                                  sample.arena_file_bytes});
    return 0;
}

const struct sample *monitor_last(const struct monitor *monitor)
{
    return &monitor->last;
}

void monitor_keep_history(struct monitor *monitor, int fd)
{
    memory_history_keep(&monitor->history, fd);
}

const struct memory_history *monitor_history(const struct monitor *monitor)
{
    return &monitor->history;
}

uint64_t monitor_n_samples(const struct monitor *monitor)
{
    return monitor->n_samples;
}
