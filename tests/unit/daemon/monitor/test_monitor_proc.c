/* What the monitor reads from /proc, in a tree of fake files, for what a test cannot bring about.
 */
#include "daemon/monitor/monitor.h"
#include "tests/unit/monitor_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

static void put(const char *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(const char *file, const char *format, ...)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, file);
    _cleanup_(fclosep) FILE *out = fopen(path, "we");
    ck_assert_ptr_nonnull(out);
    va_list arguments;
    va_start(arguments, format);
    ck_assert_int_ge(vfprintf(out, format, arguments), 0);
    va_end(arguments);
}

#define STATUS                                                                              \
    "Name:\tx\nVmHWM:\t 9000 kB\nVmRSS:\t 8000 kB\nRssAnon:\t 500 kB\nRssFile:\t 1500 kB\n" \
    "RssShmem:\t %d kB\nVmSwap:\t 12 kB\nHugetlbPages:\t %d kB\nThreads:\t%d\n"

static void put_all(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/self", root);
    ck_assert(mkdir(path, 0755) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/pressure", root);
    ck_assert(mkdir(path, 0755) == 0 || errno == EEXIST);
    put("meminfo", "MemTotal: 9000 kB\nMemAvailable: 2000 kB\n");
    put("self/status", STATUS, 6000, 0, 1);
    put("self/stat", "1 (a) b) (c) S 1 1 1 0 -1 4194304 1 0 0 0 250 150 7 7 20 0 1 0 0 1 1 1\n");
    put("self/smaps", "%s", "");
    put("pressure/memory", "some avg10=12.05 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00\n");
}

static void put_smaps(const struct backing *backing, unsigned rss_kib, unsigned swap_kib)
{
    uint64_t begin = (uintptr_t)backing_base(backing);
    uint64_t end = begin + backing_capacity_bytes(backing);
    put("self/smaps",
        "%" PRIx64 "-%" PRIx64 " rw-p 0 00:00 0\nRss: 7 kB\nSwap: 9 kB\nVmFlags: rd\n"
        "%" PRIx64 "-%" PRIx64 " rw-s 0 00:01 5 /memfd:edgemind-arena (deleted)\n"
        "Size: 8192 kB\nRss: %u kB\nAnonymous: 0 kB\nFilePmdMapped: 0 kB\nSwap: %u kB\n"
        "SwapPss: 0 kB\nVmFlags: rd\n%" PRIx64 "-%" PRIx64 " rw-p 0 00:00 0\nSwap: 11 kB\n",
        begin - 4096, begin, begin, end, rss_kib, swap_kib, end, end + 4096);
}

START_TEST(fields_and_units)
{
    put_all();
    struct monitor *monitor = NULL;
    ck_assert_int_eq(monitor_new(NULL, root, &monitor), 0);
    put("self/status", STATUS, 6000, 2048, 1);
    const struct sample *s = sample(monitor);
    ck_assert_uint_eq(s->rss_bytes, (8000 + 2048) * 1024);
    ck_assert_uint_eq(s->peak_rss_bytes, (9000 + 2048) * 1024);
    ck_assert_uint_eq(s->rss_anon_bytes, 500 * 1024);
    ck_assert_uint_eq(s->rss_file_bytes, 1500 * 1024);
    ck_assert_uint_eq(s->rss_shmem_bytes, 6000 * 1024);
    ck_assert_uint_eq(s->hugetlb_bytes, 2048 * 1024);
    ck_assert_uint_eq(s->arena_rss_bytes, (6000 + 2048) * 1024);
    ck_assert_uint_eq(s->overhead_bytes, 2000 * 1024);
    ck_assert_uint_eq(s->swap_bytes, 12 * 1024);
    ck_assert_uint_eq(s->available_bytes, 2000 * 1024);
    ck_assert_double_eq(s->pressure_avg10, 12.05);
    /* 4 s of CPU since the machine started. */
    ck_assert(s->cpu_percent > 0);
    ck_assert(!s->aligned); /* no arena, and yet 8 MiB of shared memory */
    put("self/status", STATUS, 9000, 0, 1);
    ck_assert_uint_eq(sample(monitor)->overhead_bytes, 0);
    ck_assert_double_eq(monitor_last(monitor)->cpu_percent, 0); /* none used in between */
    monitor_free(monitor);
}
END_TEST

START_TEST(what_is_missing)
{
    put_all();
    struct monitor *monitor = NULL;
    char path[128];
    ck_assert_int_eq(monitor_new(NULL, "/nowhere", &monitor), -ENOENT);
    ck_assert_ptr_null(monitor);
    snprintf(path, sizeof path, "%s/pressure/memory", root);
    unlink(path);
    snprintf(path, sizeof path, "%s/self/smaps", root);
    unlink(path);
    ck_assert_int_eq(monitor_new(NULL, root, &monitor), 0);
    ck_assert_double_lt(sample(monitor)->pressure_avg10, 0);
    struct sample before = *monitor_last(monitor);

    put("self/status", "VmRSS:\t 1 kB\nRssAnon:\t 1 kB\nRssFile:\t 1 kB\nThreads:\t1\n");
    ck_assert_int_eq(monitor_sample(monitor), -ENODATA);
    put("self/status", "%s", "");
    ck_assert_int_eq(monitor_sample(monitor), -ENODATA);
    put("self/status", STATUS, 1, 0, 1);
    put("self/stat", "1 (x) S 1\n");
    ck_assert_int_eq(monitor_sample(monitor), -ENODATA);
    put("self/stat", "%s", "");
    ck_assert_int_eq(monitor_sample(monitor), -ENODATA);
    put_all();
    put("meminfo", "%s", "");
    ck_assert_int_eq(monitor_sample(monitor), -ENODATA);
    ck_assert_mem_eq(&before, monitor_last(monitor), sizeof before);
    ck_assert_uint_eq(monitor_n_samples(monitor), 1);

    /* Without hugetlb or swap in the kernel, and before MemAvailable. */
    put("meminfo", "MemFree: 77 kB\n");
    put("self/status", "VmRSS:\t 4 kB\nRssAnon:\t 1 kB\nRssFile:\t 1 kB\nRssShmem:\t 1 kB\n"
                       "Threads:\t1\n");
    ck_assert_uint_eq(sample(monitor)->available_bytes, 77 * 1024);
    ck_assert_uint_eq(monitor_last(monitor)->rss_bytes, 4096);
    monitor_free(monitor);
}
END_TEST

START_TEST(swapped_pages_are_found_through_smaps)
{
    put_all();
    struct backing *backing = make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    struct monitor *monitor = NULL;
    ck_assert_int_eq(monitor_new(backing, root, &monitor), 0);
    put_smaps(backing, 6000, 2192);
    put("self/status", STATUS, 6000, 0, 1);
    const struct sample *s = sample(monitor);
    ck_assert_uint_eq(s->arena_swapped_bytes, 2192 * 1024);
    ck_assert_int_eq(s->drift_bytes, 0);
    ck_assert(!s->aligned);

    /* Nothing swapped: the counters merely lag, and smaps, which counts pages, knows better. */
    put_smaps(backing, 8192, 0);
    ck_assert(sample(monitor)->aligned);
    put_smaps(backing, 6000, 0);
    ck_assert(!sample(monitor)->aligned);

    /* 64 pages a thread are no reason to look, one page more is. */
    int lag = (int)(64 * page / 1024), one = (int)(page / 1024);
    put_smaps(backing, 0, 4);
    put("self/status", STATUS, 8192 - lag, 0, 1);
    ck_assert(sample(monitor)->aligned);
    put("self/status", STATUS, 8192 - lag - one, 0, 1);
    ck_assert(!sample(monitor)->aligned);
    ck_assert_uint_eq(monitor_last(monitor)->arena_swapped_bytes, 4096);
    put("self/status", STATUS, 8192 - 3 * lag, 0, 3);
    ck_assert(sample(monitor)->aligned);
    put("self/status", STATUS, 8192 + lag + one, 0, 1);
    ck_assert(!sample(monitor)->aligned);
    monitor_free(monitor);
    backing_free(backing);
}
END_TEST

START_TEST(the_resident_set_may_trail_loads_in_flight)
{
    put_all();
    struct backing *backing = make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    struct monitor *monitor = NULL;
    ck_assert_int_eq(monitor_new(backing, root, &monitor), 0);
    put("self/status", STATUS, 0, 0, 1);
    uint64_t new_bytes;
    ck_assert_int_eq(backing_grow(backing, 4 * MIB, &new_bytes), 0);
    ck_assert_int_eq(backing_populate(backing, 0, new_bytes), 0);
    ck_assert(sample(monitor)->aligned);
    backing_committed(backing, new_bytes);
    ck_assert(!sample(monitor)->aligned);
    monitor_free(monitor);
    backing_free(backing);
}
END_TEST

int main(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    Suite *suite = suite_create("monitor_proc");
    TCase *tcase = tcase_create("proc");
    tcase_add_unchecked_fixture(tcase, make_root, remove_root);
    tcase_add_test(tcase, fields_and_units);
    tcase_add_test(tcase, what_is_missing);
    tcase_add_test(tcase, swapped_pages_are_found_through_smaps);
    tcase_add_test(tcase, the_resident_set_may_trail_loads_in_flight);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
