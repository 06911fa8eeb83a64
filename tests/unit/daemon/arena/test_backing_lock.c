/* Locked memory, and the limit on it. */
#include "daemon/arena/backing.h"
#include "tests/unit/backing_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* Sets permanently an unprivileged user and a limit of 8 KiB. */
static bool limit_locked_memory(void)
{
    return setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){8192, 8192}) == 0 &&
           (geteuid() != 0 || setresuid(65534, 65534, 65534) == 0);
}

static int lock_beyond_the_limit(void)
{
    CHECK(1, limit_locked_memory());
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        const struct backing_config config = {8 * MIB, HUGE_PAGES_AUTO, commit, true};
        char why[BACKING_WHY_MAX] = "";
        CHECK(3, backing_new(&config, &backing, why) == -EPERM);
        CHECK(4, !backing && strstr(why, "RLIMIT_MEMLOCK is 8.0 KiB") && strstr(why, "8.0 MiB"));
    }
    CHECK(5, status_value("RssShmem:") == 0 || status_value("RssShmem:") < MIB);
    return 0;
}

/* valgrind lacks the call. */
static bool can_lock(void)
{
    if (mlock2(NULL, 0, MLOCK_ONFAULT) == 0)
        return true;
    printf("skipped: no mlock2 here\n");
    return false;
}

static bool may_lock_4_mib(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (geteuid() == 0 || limit.rlim_cur >= 4 * MIB)
        return can_lock();
    printf("skipped: this user may not lock 4 MiB\n");
    return false;
}

static const struct backing_config at_boot = {4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, true};
static const struct backing_config at_load = {4 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, true};

START_TEST(mlock_beyond_the_limit_is_refused)
{
    if (!can_lock())
        return;
    run_in_child(lock_beyond_the_limit);
}
END_TEST

START_TEST(mlock_locks)
{
    if (!may_lock_4_mib())
        return;
    make_with(&at_boot);
    ck_assert_uint_eq(status_value("VmLck:"), 4 * MIB);
    ck_assert_uint_eq(file_bytes(), 4 * MIB);
    make_with(&at_load);
    ck_assert_uint_eq(status_value("VmLck:"), 4 * MIB);
    ck_assert_uint_eq(file_bytes(), 0);
    grow_and_commit(MIB);
    ck_assert_uint_eq(file_bytes(), MIB);
}
END_TEST

START_TEST(adopted_and_locked)
{
    if (!may_lock_4_mib())
        return;
    make_with(&at_boot);
    write_pattern(4 * MIB);
    int fd = leave();
    ck_assert_uint_eq(status_value("VmLck:"), 0);
    adopt_with(&at_boot, fd);
    ck_assert_uint_eq(status_value("VmLck:"), 4 * MIB);
    ck_assert(has_pattern(0, 4 * MIB));
    backing = backing_free(backing);
    ck_assert_uint_eq(status_value("VmLck:"), 0);
}
END_TEST

static int adopt_beyond_the_limit(void)
{
    char why[BACKING_WHY_MAX] = "";
    CHECK(1, limit_locked_memory());
    make(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    int fd = leave();
    CHECK(4, backing_adopt(&at_boot, fd, &backing, why) == -EPERM);
    CHECK(5, !backing && strstr(why, "RLIMIT_MEMLOCK") && fcntl(fd, F_GETFD) < 0);
    return 0;
}

START_TEST(adopted_beyond_the_lock_limit_is_refused)
{
    if (!can_lock())
        return;
    run_in_child(adopt_beyond_the_limit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backing_lock");
    TCase *tcase = tcase_create("lock");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, mlock_beyond_the_limit_is_refused);
    tcase_add_test(tcase, mlock_locks);
    tcase_add_test(tcase, adopted_and_locked);
    tcase_add_test(tcase, adopted_beyond_the_lock_limit_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
