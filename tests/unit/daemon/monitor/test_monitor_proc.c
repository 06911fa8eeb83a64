/* The monitor's parsing of /proc, with a tree of fake files, for states that a test cannot
 * cause. */
#include "daemon/monitor/monitor.h"
#include "tests/unit/monitor_fixture.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <inttypes.h>

#define STATUS                                                                              \
    "Name:\tx\nVmHWM:\t 9000 kB\nVmRSS:\t 8000 kB\nRssAnon:\t 500 kB\nRssFile:\t 1500 kB\n" \
    "RssShmem:\t %d kB\nVmSwap:\t 12 kB\nHugetlbPages:\t %d kB\nThreads:\t%d\n"

static void put_all(void)
{
    put("meminfo", "MemTotal: 9000 kB\nMemAvailable: 2000 kB\n");
    put("self/status", STATUS, 6000, 0, 1);
    put("self/stat", "1 (a) b) (c) S 1 1 1 0 -1 4194304 1 0 0 0 250 150 7 7 20 0 1 0 0 1 1 1\n");
    put("self/smaps", "%s", "");
    put("pressure/memory", "some avg10=12.05 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00\n");
}

static void put_smaps(unsigned rss_kib, unsigned swap_kib)
{
    uint64_t begin = (uintptr_t)backing_base(backing);
    uint64_t end = begin + backing_capacity_bytes(backing);
    put("self/smaps",
        "%" PRIx64 "-%" PRIx64 " rw-p 0 00:00 0\nRss: 7 kB\nSwap: 9 kB\nVmFlags: rd\n"
        "%" PRIx64 "-%" PRIx64 " rw-s 0 00:01 5 /memfd:edgemind-arena (deleted)\n"
        "Size: 16384 kB\nRss: %u kB\nAnonymous: 0 kB\nFilePmdMapped: 0 kB\nSwap: %u kB\n"
        "SwapPss: 0 kB\nVmFlags: rd\n%" PRIx64 "-%" PRIx64 " rw-p 0 00:00 0\nSwap: 11 kB\n",
        begin - 4096, begin, begin, end, rss_kib, swap_kib, end, end + 4096);
}

START_TEST(fields_and_units)
{
    watch(scratch);
    put("self/status", STATUS, 6000, 2048, 1);
    const struct sample *s = sample();
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
    ck_assert(!s->aligned); /* no arena, but 8 MiB of shared memory */
    put("self/status", STATUS, 9000, 0, 1);
    ck_assert_uint_eq(sample()->overhead_bytes, 0);
    ck_assert_double_eq(monitor_last(monitor)->cpu_percent, 0); /* none used in between */
}
END_TEST

START_TEST(what_is_missing)
{
    ck_assert_int_eq(monitor_new(NULL, "/nowhere", &monitor), -ENOENT);
    ck_assert_ptr_null(monitor);
    ck_assert_int_eq(unlink(in_scratch("pressure/memory")), 0);
    ck_assert_int_eq(unlink(in_scratch("self/smaps")), 0);
    watch(scratch);
    ck_assert_double_lt(sample()->pressure_avg10, 0);
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
    ck_assert_uint_eq(sample()->available_bytes, 77 * 1024);
    ck_assert_uint_eq(monitor_last(monitor)->rss_bytes, 4096);
}
END_TEST

START_TEST(swapped_pages_are_found_through_smaps)
{
    enum { ALL = 16384 };
    const int lag = (int)(64 * page / 1024), one = (int)(page / 1024), swapped = 2 * lag;
    make(ALL * 1024, HUGE_PAGES_NEVER, COMMIT_BOOT);
    watch(scratch);
    put_smaps(ALL - swapped, swapped);
    put("self/status", STATUS, ALL - swapped, 0, 1);
    const struct sample *s = sample();
    ck_assert_uint_eq(s->arena_swapped_bytes, swapped * 1024);
    ck_assert_int_eq(s->drift_bytes, 0);
    ck_assert(!s->aligned);

    /* Nothing is swapped: the counters only lag, and smaps, which counts pages, is right. */
    put_smaps(ALL, 0);
    ck_assert(sample()->aligned);
    put_smaps(ALL - swapped, 0);
    ck_assert(!sample()->aligned);

    /* A difference of 64 pages per thread is ignored; one page more is checked. */
    put_smaps(0, 4);
    put("self/status", STATUS, ALL - lag, 0, 1);
    ck_assert(sample()->aligned);
    put("self/status", STATUS, ALL - lag - one, 0, 1);
    ck_assert(!sample()->aligned);
    ck_assert_uint_eq(monitor_last(monitor)->arena_swapped_bytes, 4096);
    put("self/status", STATUS, ALL - 3 * lag, 0, 3);
    ck_assert(sample()->aligned);
    put("self/status", STATUS, ALL + lag + one, 0, 1);
    ck_assert(!sample()->aligned);
}
END_TEST

START_TEST(the_resident_set_may_trail_loads_in_flight)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    watch(scratch);
    put("self/status", STATUS, 0, 0, 1);
    uint64_t new_bytes;
    ck_assert_int_eq(backing_grow(backing, 8 * MIB, &new_bytes), 0);
    ck_assert_int_eq(backing_populate(backing, 0, new_bytes), 0);
    ck_assert(sample()->aligned);
    backing_committed(backing, new_bytes);
    ck_assert(!sample()->aligned);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor_proc");
    TCase *tcase = tcase_create("proc");
    tcase_add_unchecked_fixture(tcase, make_scratch, remove_scratch);
    tcase_add_checked_fixture(tcase, setup, stop);
    tcase_add_checked_fixture(tcase, put_all, NULL);
    tcase_add_test(tcase, fields_and_units);
    tcase_add_test(tcase, what_is_missing);
    tcase_add_test(tcase, swapped_pages_are_found_through_smaps);
    tcase_add_test(tcase, the_resident_set_may_trail_loads_in_flight);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
