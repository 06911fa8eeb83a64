/* Locked memory, and the limit on it. */
#include "daemon/arena/backing.h"
#include "tests/unit/backing_fixture.h"
#include "tests/unit/run_suite.h"

#include "daemon/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>

static int lock_beyond_the_limit(void)
{
    struct rlimit limit = {8192, 8192};
    CHECK(1, setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    CHECK(2, geteuid() != 0 || setresuid(65534, 65534, 65534) == 0);
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        struct backing *backing = NULL;
        char why[BACKING_WHY_MAX] = "";
        CHECK(3, backing_new(&(struct backing_config){8 * MIB, HUGE_PAGES_AUTO, commit, true},
                             &backing, why) == -EPERM);
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

START_TEST(mlock_beyond_the_limit_is_refused)
{
    if (!can_lock())
        return;
    run_in_child(lock_beyond_the_limit);
}
END_TEST

START_TEST(mlock_locks)
{
    if (!can_lock())
        return;
    struct rlimit limit;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (geteuid() != 0 && limit.rlim_cur < 4 * MIB) {
        printf("skipped: this user may not lock 4 MiB\n");
        return;
    }
    struct backing *backing = make(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, true);
    ck_assert_uint_eq(status_value("VmLck:"), 4 * MIB);
    ck_assert_uint_eq(file_bytes(backing), 4 * MIB);
    backing_free(backing);
    backing = make(4 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, true);
    ck_assert_uint_eq(status_value("VmLck:"), 4 * MIB);
    ck_assert_uint_eq(file_bytes(backing), 0);
    grow_and_commit(backing, MIB);
    ck_assert_uint_eq(file_bytes(backing), MIB);
    backing_free(backing);
}
END_TEST

START_TEST(adopted_and_locked)
{
    if (!can_lock())
        return;
    struct rlimit limit;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (geteuid() != 0 && limit.rlim_cur < 4 * MIB) {
        printf("skipped: this user may not lock 4 MiB\n");
        return;
    }
    struct backing *backing = make(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, true);
    write_pattern(backing_base(backing), 4 * MIB);
    int fd = leave(backing);
    ck_assert_uint_eq(status_value("VmLck:"), 0);
    backing = adopt(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, true, fd);
    ck_assert_uint_eq(status_value("VmLck:"), 4 * MIB);
    ck_assert(has_pattern(backing_base(backing), 0, 4 * MIB));
    backing_free(backing);
    ck_assert_uint_eq(status_value("VmLck:"), 0);
}
END_TEST

static int adopt_beyond_the_limit(void)
{
    struct rlimit limit = {8192, 8192};
    struct backing *backing = NULL;
    char why[BACKING_WHY_MAX] = "";
    struct backing_config config = {MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false};
    CHECK(1, setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    CHECK(2, geteuid() != 0 || setresuid(65534, 65534, 65534) == 0);
    CHECK(3, backing_new(&config, &backing, why) == 0);
    int fd = fcntl(backing_fd(backing), F_DUPFD_CLOEXEC, 3);
    config.mlock = true;
    backing_free(backing);
    backing = NULL;
    CHECK(4, backing_adopt(&config, fd, &backing, why) == -EPERM);
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
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    Suite *suite = suite_create("backing_lock");
    TCase *tcase = tcase_create("lock");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, mlock_beyond_the_limit_is_refused);
    tcase_add_test(tcase, mlock_locks);
    tcase_add_test(tcase, adopted_and_locked);
    tcase_add_test(tcase, adopted_beyond_the_lock_limit_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
