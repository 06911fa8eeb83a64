/* Huge pages, transparent and reserved. The tests change system settings as root and restore
 * them. */
#include "daemon/arena/backing.h"
#include "tests/unit/huge_page_pool.h"
#include "tests/unit/monitor_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <string.h>

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define PMD_SIZE      "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"

#define HUGE (2 * MIB)

/* Saved and restored in the parent, as the pool is. */
static char saved_shmem[32];

static void save_shmem(void)
{
    char text[128], *begin, *end;
    if (read_setting(SHMEM_ENABLED, text, sizeof text) && (begin = strchr(text, '[')) &&
        (end = strchr(begin, ']'))) {
        *end = '\0';
        snprintf(saved_shmem, sizeof saved_shmem, "%s", begin + 1);
        if (!write_setting(SHMEM_ENABLED, saved_shmem))
            *saved_shmem = '\0';
    }
}

static void restore_shmem(void)
{
    if (*saved_shmem)
        ck_assert(write_setting(SHMEM_ENABLED, saved_shmem));
}

static bool set_shmem(const char *value)
{
    uint64_t huge_bytes;
    if (*saved_shmem && procfs_read_number(PMD_SIZE, &huge_bytes) == 0 && huge_bytes == HUGE &&
        write_setting(SHMEM_ENABLED, value))
        return true;
    printf("skipped: %s cannot be changed, or huge pages are not of 2 MiB\n", SHMEM_ENABLED);
    return false;
}

START_TEST(transparent_at_boot)
{
    if (!set_shmem("advise"))
        return;
    uint64_t before = status_value("RssShmem:");
    make(50 * MIB + page, HUGE_PAGES_AUTO, COMMIT_BOOT);
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    ck_assert_uint_eq(backing_ahead_bytes(backing), 0);
    ck_assert_uint_eq((uintptr_t)backing_base(backing) % HUGE, 0);
    expect_near(status_value("RssShmem:") - before, 50 * MIB + page, HUGE);
    ck_assert_uint_ge(file_bytes(), 50 * MIB + page);
    ck_assert_uint_le(file_bytes(), 52 * MIB);

    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    make(MIB, HUGE_PAGES_AUTO, COMMIT_BOOT);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert_uint_eq(file_bytes(), MIB);
}
END_TEST

START_TEST(transparent_as_layers_arrive)
{
    if (!set_shmem("advise"))
        return;
    uint64_t before = status_value("RssShmem:");
    make(50 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD);
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    ck_assert_uint_eq(backing_ahead_bytes(backing), HUGE);
    ck_assert_uint_eq(file_bytes(), 0);
    watch("/proc");
    for (uint64_t mark = page; mark <= 50 * MIB; mark += 3 * MIB + page) {
        grow_and_commit(mark);
        ck_assert_uint_ge(file_bytes(), mark);
        ck_assert_uint_lt(file_bytes(), mark + HUGE);
        expect_near(status_value("RssShmem:") - before, mark, HUGE);
        /* Pages that will be committed are counted. */
        expect_drift(0, true);
    }
}
END_TEST

START_TEST(plain_where_transparent_pages_are_off)
{
    if (!set_shmem("never"))
        return;
    make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert_uint_eq(backing_ahead_bytes(backing), 0);
    /* The kind of pages is decided at the start. */
    ck_assert(set_shmem("advise"));
    grow_and_commit(page);
    ck_assert_uint_eq(file_bytes(), page);
}
END_TEST

START_TEST(transparent_pages_are_adopted)
{
    if (!set_shmem("advise"))
        return;
    make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT);
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    write_pattern(8 * MIB);
    adopt(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, leave());
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    ck_assert_uint_eq((uintptr_t)backing_base(backing) % HUGE, 0);
    ck_assert(has_pattern(0, 8 * MIB));
    ck_assert_uint_eq(file_bytes(), 8 * MIB);

    /* Existing pages do not change. */
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    write_pattern(8 * MIB);
    adopt(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, leave());
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert(has_pattern(0, 8 * MIB));
    ck_assert_uint_eq(file_bytes(), 8 * MIB);

    /* A huge page that reaches beyond the mark: what is above it is not in use. */
    make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD);
    grow_and_commit(3 * MIB);
    write_pattern(3 * MIB);
    adopt(8 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD, leave());
    ck_assert_uint_eq(backing_mark_bytes(backing), 3 * MIB);
    ck_assert_uint_eq(backing_ahead_bytes(backing), HUGE);
    ck_assert_uint_le(file_bytes(), 3 * MIB + HUGE);
    ck_assert(has_pattern(0, 3 * MIB));
    watch("/proc");
    ck_assert(sample()->aligned);
}
END_TEST

/* Makes a pool with exactly `n` free pages of 2 MiB. */
static bool set_pool(unsigned n)
{
    if (proc_value("meminfo", "Hugepagesize:") == HUGE && enlarge_pool(n) &&
        proc_value("meminfo", "HugePages_Free:") == n &&
        proc_value("meminfo", "HugePages_Rsvd:") == 0)
        return true;
    printf("skipped: no pool of reserved huge pages can be made here\n");
    return false;
}

START_TEST(reserved_at_boot)
{
    if (!set_pool(10))
        return;
    make(20 * MIB + page, HUGE_PAGES_RESERVED, COMMIT_BOOT);
    ck_assert_str_eq(backing_name(backing), "reserved-huge-pages");
    ck_assert_uint_eq(backing_page_bytes(backing), HUGE);
    ck_assert_uint_eq(backing_capacity_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(status_value("HugetlbPages:"), 20 * MIB);
    ck_assert_uint_eq(file_bytes(), 20 * MIB);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 0);
    backing = backing_free(backing);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 10);
}
END_TEST

START_TEST(reserved_as_layers_arrive)
{
    if (!set_pool(10))
        return;
    make(20 * MIB, HUGE_PAGES_RESERVED, COMMIT_LOAD);
    ck_assert_int_eq(file_of().st_size, 0);
    ck_assert_uint_eq(status_value("HugetlbPages:"), 0);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 10);
    uint64_t new_bytes = 0;
    ck_assert_int_eq(backing_grow(backing, page, &new_bytes), -EINVAL);
    for (uint64_t n = 2; n <= 10; n += 4) {
        grow_and_commit(n * HUGE);
        ck_assert_int_eq(file_of().st_size, (off_t)(n * HUGE));
        ck_assert_uint_eq(status_value("HugetlbPages:"), n * HUGE);
        ck_assert_uint_eq(file_bytes(), n * HUGE);
        /* No other process can get the huge pages that the arena has not touched yet. */
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 10 - n);
    }
    backing = backing_free(backing);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 10);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 0);
}
END_TEST

START_TEST(reserved_pages_are_adopted)
{
    if (!set_pool(10))
        return;
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        make(20 * MIB, HUGE_PAGES_RESERVED, commit);
        uint64_t mark = commit == COMMIT_BOOT ? 20 * MIB : 3 * HUGE;
        if (commit == COMMIT_LOAD)
            grow_and_commit(mark);
        write_pattern(mark);
        int fd = leave();
        expect_no_adoption(20 * MIB, HUGE_PAGES_NEVER, commit, dup(fd), -ESTALE,
                           "pages of another kind");
        expect_no_adoption(20 * MIB, HUGE_PAGES_AUTO, commit, dup(fd), -ESTALE,
                           "pages of another kind");
        /* The pool has no room for a second one. */
        adopt(20 * MIB, HUGE_PAGES_RESERVED, commit, fd);
        ck_assert_str_eq(backing_name(backing), "reserved-huge-pages");
        ck_assert_uint_eq(backing_page_bytes(backing), HUGE);
        ck_assert_uint_eq(backing_mark_bytes(backing), mark);
        ck_assert(has_pattern(0, mark));
        ck_assert_uint_eq(status_value("HugetlbPages:"), mark);
        ck_assert_uint_eq(file_bytes(), mark);
        ck_assert_int_eq(file_of().st_size, (off_t)mark);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 10 - mark / HUGE);
        if (commit == COMMIT_LOAD)
            grow_and_commit(20 * MIB);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 0);
        backing = backing_free(backing);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 10);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 0);
    }
    make(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    expect_no_adoption(20 * MIB, HUGE_PAGES_RESERVED, COMMIT_BOOT, leave(), -ESTALE,
                       "pages of another kind");
}
END_TEST

START_TEST(a_pool_too_small_is_refused)
{
    if (!set_pool(4))
        return;
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        expect_refusal(10 * MIB, HUGE_PAGES_RESERVED, commit, -ENOMEM,
                       "needs 5 huge pages of 2.0 MiB (10.0 MiB), but only 4 are free");
        expect_refusal(10 * MIB, HUGE_PAGES_RESERVED, commit, -ENOMEM,
                       "raise vm.nr_hugepages by 1");
        expect_refusal(UINT64_MAX, HUGE_PAGES_RESERVED, commit, -ENOMEM, "vm.nr_hugepages");
        expect_refusal(MIB, HUGE_PAGES_RESERVED, commit, -EINVAL, "less than one page");
    }
    /* Pages that another process has reserved but not touched count as used. */
    make(6 * MIB, HUGE_PAGES_RESERVED, COMMIT_LOAD);
    expect_refusal(4 * MIB, HUGE_PAGES_RESERVED, COMMIT_BOOT, -ENOMEM, "but only 1 are free");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backing_huge");
    TCase *transparent = tcase_create("transparent");
    tcase_set_timeout(transparent, 120);
    tcase_add_checked_fixture(transparent, setup, stop);
    tcase_add_unchecked_fixture(transparent, save_shmem, restore_shmem);
    tcase_add_test(transparent, transparent_at_boot);
    tcase_add_test(transparent, transparent_as_layers_arrive);
    tcase_add_test(transparent, plain_where_transparent_pages_are_off);
    tcase_add_test(transparent, transparent_pages_are_adopted);
    suite_add_tcase(suite, transparent);
    TCase *reserved = tcase_create("reserved");
    tcase_set_timeout(reserved, 120);
    tcase_add_checked_fixture(reserved, setup, stop);
    tcase_add_unchecked_fixture(reserved, save_pool, restore_pool);
    tcase_add_test(reserved, reserved_at_boot);
    tcase_add_test(reserved, reserved_as_layers_arrive);
    tcase_add_test(reserved, reserved_pages_are_adopted);
    tcase_add_test(reserved, a_pool_too_small_is_refused);
    suite_add_tcase(suite, reserved);
    return run_suite(suite);
}
