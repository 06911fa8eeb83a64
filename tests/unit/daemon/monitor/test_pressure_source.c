/* Reading of the files in which the system says how short memory is. They are as real systems have
 * them: a Raspberry Pi without PSI, cgroups v1 and v2, a container. */
#include "daemon/monitor/pressure_source.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

#include <errno.h>

#define KIB UINT64_C(1024)

static struct pressure_source source;
static bool is_open;

static void put_machine(void)
{
    put("proc/meminfo", "MemTotal:        3884304 kB\nMemFree:          143300 kB\n"
                        "MemAvailable:    1000000 kB\nBuffers:           35860 kB\n");
    put("proc/pressure/memory", "some avg10=12.50 avg60=3.00 avg300=0.00 total=181349602\n"
                                "full avg10=99.00 avg60=0.00 avg300=0.00 total=49233943\n");
    put("proc/vmstat", "nr_free_pages 35825\nworkingset_nodes 1203\nworkingset_refault_anon 7\n"
                       "workingset_refault_file 93\nworkingset_activate_anon 1000\n");
    put("proc/self/cgroup", "%s", "");
}

static void finish(void)
{
    if (is_open)
        pressure_source_close(&source);
    is_open = false;
    clear_scratch();
}

static struct pressure_reading read_all(void)
{
    char proc[128], cgroups[128];
    struct pressure_reading reading;

    snprintf(proc, sizeof proc, "%s/proc", scratch);
    snprintf(cgroups, sizeof cgroups, "%s/cgroup", scratch);
    if (is_open)
        pressure_source_close(&source);
    ck_assert_int_eq(pressure_source_open(&source, proc, cgroups), 0);
    is_open = true;
    ck_assert_int_eq(pressure_source_read(&source, &reading), 0);
    ck_assert_uint_gt(reading.at_usec, 0);
    return reading;
}

static void put_v2(const char *directory, const char *high)
{
    char file[256];
#define PUT_V2(name, ...) \
    (snprintf(file, sizeof file, "cgroup%s/%s", directory, name), put(file, __VA_ARGS__))
    PUT_V2("memory.max", "1048576\n");
    PUT_V2("memory.high", "%s\n", high);
    PUT_V2("memory.current", "1000000\n");
    PUT_V2("memory.events", "low 5\nhigh 3\nmax 20\noom 100\noom_kill 1000\n");
    PUT_V2("memory.stat", "anon 1\nfile 2\nfile_dirty 1000\ninactive_file 101000\n");
    PUT_V2("memory.pressure", "some avg10=7.25 avg60=0.00 avg300=0.00 total=1\n");
#undef PUT_V2
}

START_TEST(the_machine)
{
    struct pressure_reading reading = read_all();
    ck_assert(pressure_source_has_stalls(&source));
    ck_assert_double_eq(reading.stalled_percent, 12.5);
    ck_assert_uint_eq(reading.available_bytes, 1000000 * KIB);
    ck_assert_uint_eq(reading.total_bytes, 3884304 * KIB);
    ck_assert_uint_eq(reading.refaults, 100);
    ck_assert_double_lt(reading.own_stalled_percent, 0);
    ck_assert_uint_eq(reading.limit_hits, UINT64_MAX);
    ck_assert_uint_eq(reading.limit_bytes, UINT64_MAX);
    /* Linux before 5.9 has one counter. */
    put("proc/vmstat", "workingset_refault 55\n");
    ck_assert_uint_eq(read_all().refaults, 55);
}
END_TEST

/* As Raspberry Pi OS without psi=1, and a kernel that has the file but refuses to read it. */
START_TEST(no_stalls)
{
    ck_assert_int_eq(unlink(in_scratch("proc/pressure/memory")), 0);
    ck_assert_double_lt(read_all().stalled_percent, 0);
    ck_assert(!pressure_source_has_stalls(&source));
    put("proc/pressure/memory", "%s", "");
    ck_assert_double_lt(read_all().stalled_percent, 0);
    put("proc/pressure/memory", "some avg10=x\n");
    ck_assert(!pressure_source_has_stalls(&source));
    ck_assert_int_eq(unlink(in_scratch("proc/vmstat")), 0);
    ck_assert_uint_eq(read_all().refaults, UINT64_MAX);
}
END_TEST

START_TEST(cgroup_v2)
{
    put("proc/self/cgroup", "0::/system.slice/edgemindd.service\n");
    put_v2("/system.slice/edgemindd.service", "max");
    struct pressure_reading reading = read_all();
    ck_assert_double_eq(reading.own_stalled_percent, 7.25);
    ck_assert_uint_eq(reading.limit_hits, 23);
    ck_assert_uint_eq(reading.limit_bytes, 1048576);
    ck_assert_uint_eq(reading.limit_free_bytes, 1048576 - 900000);
    put_v2("/system.slice/edgemindd.service", "950000");
    reading = read_all();
    ck_assert_uint_eq(reading.limit_bytes, 950000);
    ck_assert_uint_eq(reading.limit_free_bytes, 50000);
    put_v2("/system.slice/edgemindd.service", "800000");
    ck_assert_uint_eq(read_all().limit_free_bytes, 0);
    /* No limit at all. */
    put("cgroup/system.slice/edgemindd.service/memory.max", "max\n");
    put("cgroup/system.slice/edgemindd.service/memory.high", "max\n");
    ck_assert_uint_eq(read_all().limit_bytes, UINT64_MAX);
}
END_TEST

/* A container sees its cgroup as the root, or has a path that is not visible. */
START_TEST(in_a_container)
{
    put_v2("", "max");
    put("proc/self/cgroup", "0::/\n");
    ck_assert_uint_eq(read_all().limit_bytes, 1048576);
    put("proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    ck_assert_uint_eq(read_all().limit_hits, 23);
}
END_TEST

START_TEST(cgroup_v1)
{
    put("proc/self/cgroup", "12:cpu,cpuacct:/\n4:hugetlb,memory:/a/b\n3:memory_not:/c\n0::/\n");
    put("cgroup/memory/a/b/memory.limit_in_bytes", "2097152\n");
    put("cgroup/memory/a/b/memory.usage_in_bytes", "2000000\n");
    put("cgroup/memory/a/b/memory.failcnt", "42\n");
    put("cgroup/memory/a/b/memory.stat", "inactive_file 9\ntotal_inactive_file 100000\n");
    struct pressure_reading reading = read_all();
    ck_assert_double_lt(reading.own_stalled_percent, 0);
    ck_assert_uint_eq(reading.limit_hits, 42);
    ck_assert_uint_eq(reading.limit_bytes, 2097152);
    ck_assert_uint_eq(reading.limit_free_bytes, 2097152 - 1900000);
    put("cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    ck_assert_uint_eq(read_all().limit_bytes, UINT64_MAX);
}
END_TEST

START_TEST(damaged_files)
{
    put("proc/self/cgroup", "\n:\n::\n0:\n0::relative\nmemory\n");
    put_v2("", "max");
    ck_assert_uint_eq(read_all().limit_bytes, UINT64_MAX);
    put("proc/self/cgroup", "0::/\n");
    put("cgroup/memory.events", "%s", "nonsense");
    put("cgroup/memory.current", "-1\n");
    struct pressure_reading reading = read_all();
    ck_assert_uint_eq(reading.limit_hits, UINT64_MAX);
    ck_assert_uint_eq(reading.limit_bytes, UINT64_MAX);

    put("proc/meminfo", "MemFree: 1 kB\n");
    ck_assert_int_eq(pressure_source_read(&source, &reading), -ENODATA);
    pressure_source_close(&source);
    is_open = false;
    ck_assert_int_eq(pressure_source_open(&source, "/nowhere", "/nowhere"), -ENOENT);
}
END_TEST

/* The real one of this machine. */
START_TEST(this_machine)
{
    struct pressure_reading reading;
    ck_assert_int_eq(pressure_source_open(&source, "/proc", "/sys/fs/cgroup"), 0);
    is_open = true;
    ck_assert_int_eq(pressure_source_read(&source, &reading), 0);
    ck_assert_uint_gt(reading.available_bytes, 0);
    ck_assert_uint_ge(reading.total_bytes, reading.available_bytes);
    ck_assert_uint_ne(reading.refaults, UINT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pressure_source");
    TCase *tcase = tcase_create("pressure_source");
    tcase_add_unchecked_fixture(tcase, make_scratch, remove_scratch);
    tcase_add_checked_fixture(tcase, put_machine, finish);
    tcase_add_test(tcase, the_machine);
    tcase_add_test(tcase, no_stalls);
    tcase_add_test(tcase, cgroup_v2);
    tcase_add_test(tcase, in_a_container);
    tcase_add_test(tcase, cgroup_v1);
    tcase_add_test(tcase, damaged_files);
    tcase_add_test(tcase, this_machine);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
