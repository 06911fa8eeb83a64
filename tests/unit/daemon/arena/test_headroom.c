/* Headroom from trees of fake files, and a refusal inside a real memory cgroup. */
#include "daemon/arena/headroom.h"

#include "daemon/arena/backing.h"
#include "tests/unit/run_in_child.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

#include <check.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)

static int read_fake_into(struct headroom *ret)
{
    char proc[sizeof scratch + 8], cgroup[sizeof scratch + 8];

    snprintf(proc, sizeof proc, "%s/proc", scratch);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", scratch);
    return headroom_read(proc, cgroup, ret);
}

static struct headroom read_fake(void)
{
    struct headroom headroom;
    ck_assert_int_eq(read_fake_into(&headroom), 0);
    return headroom;
}

static void expect(uint64_t available_bytes, const char *source)
{
    struct headroom headroom = read_fake();
    ck_assert_str_eq(headroom.source, source);
    ck_assert_uint_eq(headroom.available_bytes, available_bytes);
}

START_TEST(the_machine_alone)
{
    struct headroom headroom = {.available_bytes = 7};
    ck_assert_int_eq(read_fake_into(&headroom), -ENOENT);
    put("proc/meminfo", "MemTotal: 4096 kB\n");
    ck_assert_int_eq(read_fake_into(&headroom), -ENODATA);
    ck_assert_uint_eq(headroom.available_bytes, 7);
    put("proc/meminfo", "MemTotal: 4096 kB\nMemFree:     1024 kB\nMemAvailable:   3072 kB\n");
    expect(3 * MIB, "MemAvailable");
    put("proc/meminfo", "MemTotal: 4096 kB\nMemFree: 1024 kB\n");
    expect(1 * MIB, "MemFree, because there is no MemAvailable");
    put("proc/meminfo",
        "MemTotal: 2097152 kB\nMemAvailable: 18446744073709551615 kB\nMemFree: 1024 kB\n");
    expect(1 * MIB, "MemFree, because there is no MemAvailable");
}
END_TEST

START_TEST(v2_takes_the_tightest_ancestor)
{
    put("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n");
    put("proc/self/cgroup", "0::/a/b/c\n");
    put("cgroup/a/b/c/memory.max", "max\n");
    put("cgroup/a/b/c/memory.current", "99999999\n");
    expect(1024 * MIB, "MemAvailable");
    put("cgroup/a/b/memory.max", "104857600\n");
    put("cgroup/a/b/memory.current", "62914560\n");
    expect(40 * MIB, "memory.max of /a/b");
    put("cgroup/a/memory.max", "52428800\n");
    put("cgroup/a/memory.current", "41943040\n");
    expect(10 * MIB, "memory.max of /a");
    put("cgroup/a/memory.current", "52428801\n");
    expect(0, "memory.max of /a");
    /* An unreadable file is ignored. */
    put("cgroup/a/memory.current", "\n");
    expect(40 * MIB, "memory.max of /a/b");
    put("cgroup/a/memory.current", "123456789012345678901234567890\n");
    expect(40 * MIB, "memory.max of /a/b");
}
END_TEST

static void expect_total(uint64_t total_bytes, const char *source)
{
    struct headroom headroom = read_fake();
    ck_assert_str_eq(headroom.total_source, source);
    ck_assert_uint_eq(headroom.total_bytes, total_bytes);
}

START_TEST(the_total_is_the_lowest_limit)
{
    put("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n");
    put("proc/self/cgroup", "4:memory:/m\n0::/a/b\n");
    expect_total(2048 * MIB, "MemTotal");
    put("cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712\n");
    expect_total(2048 * MIB, "MemTotal");
    put("cgroup/memory/m/memory.limit_in_bytes", "1073741824\n");
    expect_total(1024 * MIB, "memory.limit_in_bytes of /m");
    put("cgroup/a/memory.max", "314572800\n"); /* of the parent, whose usage cannot be read */
    expect_total(300 * MIB, "memory.max of /a");
    put("proc/meminfo", "MemAvailable: 1048576 kB\n");
    struct headroom headroom;
    ck_assert_int_eq(read_fake_into(&headroom), -ENODATA);
}
END_TEST

START_TEST(clean_page_cache_counts_as_available)
{
    put("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n");
    put("proc/self/cgroup", "0::/a\n");
    put("cgroup/a/memory.max", "104857600\n");
    put("cgroup/a/memory.current", "83886080\n");
    put("cgroup/a/memory.stat", "anon 1\nfile 99999999\ninactive_file 20971520\n"
                                "active_file 10485760\nfile_dirty 4194304\n"
                                "file_writeback 6291456\nshmem 12345678\n");
    expect(40 * MIB, "memory.max of /a"); /* 100 - 80 + 20 + 10 - 4 - 6 */
    put("cgroup/a/memory.stat", "inactive_file 999999999\n");
    expect(100 * MIB, "memory.max of /a"); /* never more than the limit */
    put("cgroup/a/memory.stat", "inactive_file 4096\nfile_dirty 8192\n");
    expect(20 * MIB, "memory.max of /a");
    put("cgroup/a/memory.stat",
        "inactive_file 18446744073709551615\nactive_file 18446744073709551615\n");
    expect(20 * MIB, "memory.max of /a");
}
END_TEST

START_TEST(v1_uses_the_subtree_sums)
{
    put("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n");
    put("proc/self/cgroup", "9:name=systemd:/x\n5:cpu,memory:/a/b\n1:memoryless:/y\n0::/\n");
    put("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("cgroup/memory/memory.usage_in_bytes", "1\n");
    put("cgroup/memory/a/b/memory.limit_in_bytes", "104857600\n");
    put("cgroup/memory/a/b/memory.usage_in_bytes", "83886080\n");
    put("cgroup/memory/a/b/memory.stat", "inactive_file 1\nactive_file 1\ndirty 1\n"
                                         "total_inactive_file 20971520\ntotal_active_file 0\n"
                                         "total_dirty 10485760\ntotal_writeback 0\n");
    expect(30 * MIB, "memory.limit_in_bytes of /a/b");
    put("cgroup/memory/a/memory.memsw.limit_in_bytes", "20971520\n");
    put("cgroup/memory/a/memory.memsw.usage_in_bytes", "10485760\n");
    expect(10 * MIB, "memory.memsw.limit_in_bytes of /a");
}
END_TEST

START_TEST(v2_beside_v1)
{
    put("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n");
    put("proc/self/cgroup", "4:memory:/m\n0::/u\n");
    put("cgroup/memory/m/memory.limit_in_bytes", "104857600\n");
    put("cgroup/memory/m/memory.usage_in_bytes", "0\n");
    put("cgroup/unified/u/memory.max", "52428800\n");
    put("cgroup/unified/u/memory.current", "0\n");
    expect(50 * MIB, "memory.max of /u");
    put("cgroup/unified/u/memory.max", "max\n");
    expect(100 * MIB, "memory.limit_in_bytes of /m");
}
END_TEST

START_TEST(a_path_that_is_not_visible_falls_back_to_the_root)
{
    put("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n");
    put("cgroup/memory/memory.limit_in_bytes", "104857600\n");
    put("cgroup/memory/memory.usage_in_bytes", "0\n");
    put("proc/self/cgroup", "4:memory:/docker/0123456789\n");
    expect(100 * MIB, "memory.limit_in_bytes of /");
    put("proc/self/cgroup", "4:memory:/../../elsewhere\n");
    expect(100 * MIB, "memory.limit_in_bytes of /");
    put("proc/self/cgroup", "4:memory:/\n");
    expect(100 * MIB, "memory.limit_in_bytes of /");
    put("proc/self/cgroup", "nonsense\n:::\n4:memory\n4:memory:\n4:memory:relative\n");
    expect(1024 * MIB, "MemAvailable");

    /* Longer than a line may be: its ancestors still count. */
    char line[8192] = "4:memory:/a/";
    memset(line + strlen(line), 'x', 6000);
    put("proc/self/cgroup", "%s", line);
    put("cgroup/memory/a/memory.limit_in_bytes", "52428800\n");
    put("cgroup/memory/a/memory.usage_in_bytes", "0\n");
    expect(50 * MIB, "memory.limit_in_bytes of /a");
}
END_TEST

START_TEST(the_real_machine)
{
    struct headroom headroom;
    ck_assert_int_eq(headroom_read("/proc", "/sys/fs/cgroup", &headroom), 0);
    ck_assert_uint_gt(headroom.available_bytes, 0);
    ck_assert_str_ne(headroom.source, "");
}
END_TEST

/* A real cgroup with a limit of 64 MiB. The parent makes it and always removes it. */
static char limited[128];
static const char *limited_source;

static bool put_number(const char *directory, const char *file, long long value)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    FILE *out = fopen(path, "we");
    if (!out)
        return false;
    bool written = fprintf(out, "%lld\n", value) > 0;
    return fclose(out) == 0 && written;
}

static void make_limited(void)
{
    static const struct {
        const char *parent, *file;
    } kinds[] = {{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                 {"/sys/fs/cgroup", "memory.max"},
                 {"/sys/fs/cgroup/unified", "memory.max"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(limited, sizeof limited, "%s/edgemind-test-%d", kinds[i].parent, (int)getpid());
        limited_source = kinds[i].file;
        if (mkdir(limited, 0755) < 0)
            continue;
        if (put_number(limited, limited_source, 64 << 20))
            return;
        rmdir(limited);
    }
    *limited = '\0';
}

static void remove_limited(void)
{
    if (*limited) {
        put_number(limited, "memory.force_empty", 0);
        ck_assert_int_eq(rmdir(limited), 0);
    }
}

static bool can_limit(void)
{
    if (!*limited)
        printf("skipped: no memory cgroup can be made here\n");
    return *limited;
}

static bool enter_limited(void)
{
    return put_number(limited, "cgroup.procs", getpid());
}

static int refusals(void)
{
    struct headroom headroom;
    CHECK(100, enter_limited());
    CHECK(1, headroom_read("/proc", "/sys/fs/cgroup", &headroom) == 0);
    CHECK(2, headroom.available_bytes <= 64 * MIB);
    CHECK(3, strncmp(headroom.source, limited_source, strlen(limited_source)) == 0);
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        struct backing *backing = NULL;
        char why[BACKING_WHY_MAX] = "";
        CHECK(4, backing_new(&(struct backing_config){100 * MIB, HUGE_PAGES_AUTO, commit, false},
                             &backing, why) == -E2BIG);
        CHECK(5, !backing && strstr(why, "100.") && strstr(why, limited_source));
    }
    return 0;
}

static int growth(void)
{
    struct backing *backing;
    char why[BACKING_WHY_MAX];
    uint64_t new_bytes = 1;
    CHECK(100, enter_limited());
    CHECK(1, backing_new(&(struct backing_config){40 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, false},
                         &backing, why) == 0);
    CHECK(2, backing_grow(backing, 8 * MIB, &new_bytes) == 0 && new_bytes == 8 * MIB);
    CHECK(3, backing_populate(backing, 0, new_bytes) == 0);
    backing_committed(backing, new_bytes);
    /* Now another process uses the memory. */
    char *other = mmap(NULL, 40 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(4, other != MAP_FAILED);
    memset(other, 1, 40 << 20);
    CHECK(5, backing_grow(backing, 40 * MIB, &new_bytes) == -ENOMEM && new_bytes == 8 * MIB);
    CHECK(6, backing_committed_bytes(backing) == 8 * MIB && backing_pending_bytes(backing) == 0);
    struct stat status;
    CHECK(7, fstat(backing_fd(backing), &status) == 0 && status.st_size == 8 << 20);
    CHECK(8, backing_grow(backing, 9 * MIB, &new_bytes) == 0 && new_bytes == MIB);
    munmap(other, 40 << 20);
    backing_free(backing);
    return 0;
}

START_TEST(too_large_for_the_cgroup_is_refused_not_killed)
{
    if (can_limit())
        run_in_child(refusals);
}
END_TEST

START_TEST(growth_is_refused_when_the_room_is_gone)
{
    if (can_limit())
        run_in_child(growth);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("headroom");
    TCase *fake = tcase_create("fake");
    tcase_add_unchecked_fixture(fake, make_scratch, remove_scratch);
    tcase_add_checked_fixture(fake, clear_scratch, NULL);
    tcase_add_test(fake, the_machine_alone);
    tcase_add_test(fake, v2_takes_the_tightest_ancestor);
    tcase_add_test(fake, the_total_is_the_lowest_limit);
    tcase_add_test(fake, clean_page_cache_counts_as_available);
    tcase_add_test(fake, v1_uses_the_subtree_sums);
    tcase_add_test(fake, v2_beside_v1);
    tcase_add_test(fake, a_path_that_is_not_visible_falls_back_to_the_root);
    suite_add_tcase(suite, fake);
    TCase *real = tcase_create("real");
    tcase_set_timeout(real, 120);
    tcase_add_unchecked_fixture(real, make_limited, remove_limited);
    tcase_add_test(real, the_real_machine);
    tcase_add_test(real, too_large_for_the_cgroup_is_refused_not_killed);
    tcase_add_test(real, growth_is_refused_when_the_room_is_gone);
    suite_add_tcase(suite, real);
    return run_suite(suite);
}
