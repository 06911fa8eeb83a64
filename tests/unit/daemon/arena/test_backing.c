/* The arena's memory according to the operating system: /proc, fstat and smaps, never the module's
 * own figures. */
#include "daemon/arena/backing.h"
#include "tests/unit/backing_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

START_TEST(boot_commits_everything)
{
    uint64_t before = status_value("RssShmem:");
    make(50 * MIB + 123, HUGE_PAGES_NEVER, COMMIT_BOOT);
    expect_near(status_value("RssShmem:") - before, 50 * MIB, lag_bytes());
    ck_assert_uint_eq(file_bytes(), 50 * MIB);
    ck_assert_int_eq(file_of().st_size, 50 << 20);
    ck_assert_uint_eq(backing_capacity_bytes(backing), 50 * MIB);
    ck_assert_uint_eq(backing_page_bytes(backing), page);
    ck_assert_uint_eq(backing_committed_bytes(backing), 50 * MIB);
    ck_assert_uint_eq(backing_pending_bytes(backing), 0);
    ck_assert_uint_eq(backing_ahead_bytes(backing), 0);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert_int_eq(backing_commit(backing), COMMIT_BOOT);

    uint64_t new_bytes = 1;
    ck_assert_int_eq(backing_grow(backing, 50 * MIB, &new_bytes), 0);
    ck_assert_uint_eq(new_bytes, 0);
    ck_assert_int_eq(backing_grow(backing, 51 * MIB, &new_bytes), -EINVAL);

    backing_base(backing)[50 * MIB - 1] = 7;
    ck_assert_int_eq(backing_populate(backing, 49 * MIB, MIB), 0);
    ck_assert_uint_eq(backing_base(backing)[50 * MIB - 1], 7);
    backing = backing_free(backing);
    ck_assert_uint_eq(status_value("RssShmem:"), before);
    ck_assert_ptr_null(backing_free(NULL));
}
END_TEST

START_TEST(clients_can_only_read)
{
    make(MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    ck_assert_uint_eq(file_of().st_mode & 07777, 0400);
    ck_assert_int_eq(fcntl(backing_fd(backing), F_GETFD), FD_CLOEXEC);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", backing_fd(backing));
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_ptr_eq(mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    ck_assert_int_eq(errno, EACCES);
    backing_base(backing)[5] = 99;
    unsigned char *seen = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(seen, MAP_FAILED);
    ck_assert_uint_eq(seen[5], 99);
    munmap(seen, MIB);
}
END_TEST

START_TEST(cores_do_not_hold_it)
{
    make(MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    _cleanup_(closep) int smaps = procfs_open("/proc", "self/smaps");
    struct procfs_reader reader;
    procfs_begin(&reader, smaps);
    char *line, begin[32];
    snprintf(begin, sizeof begin, "%08lx-", (unsigned long)(uintptr_t)backing_base(backing));
    bool inside = false, dontdump = false;
    while (procfs_next_line(&reader, &line) > 0) {
        if (strncmp(line, begin, strlen(begin)) == 0)
            inside = true;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            dontdump = strstr(line, " dd") != NULL;
            break;
        }
    }
    ck_assert(inside && dontdump);
}
END_TEST

START_TEST(absurd_capacities_are_refused)
{
    uint64_t all = proc_value("meminfo", "MemTotal:");
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        expect_refusal(0, HUGE_PAGES_NEVER, commit, -EINVAL, "less than one page");
        expect_refusal(page - 1, HUGE_PAGES_AUTO, commit, -EINVAL, "less than one page");
        expect_refusal(all + page, HUGE_PAGES_AUTO, commit, -E2BIG, "never be more than");
        expect_refusal(UINT64_C(1) << 63, HUGE_PAGES_NEVER, commit, -E2BIG, "needs 8.0 EiB");
        expect_refusal(UINT64_MAX, HUGE_PAGES_AUTO, commit, -E2BIG, "needs 16.0 EiB");
    }
    make(page, HUGE_PAGES_AUTO, COMMIT_BOOT);
    ck_assert_uint_eq(file_bytes(), page);
}
END_TEST

/* As in a process of 32 bits, which may have fewer addresses than the machine has memory. */
static int with_few_addresses(void)
{
    char why[BACKING_WHY_MAX] = "";
    const struct backing_config config = {64 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, false};
    struct rlimit limit = {status_value("VmSize:") + 20 * MIB, RLIM_INFINITY};
    CHECK(1, setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(2, backing_new(&config, &backing, why) == -ENOMEM && !backing);
    unsigned mib = 0;
    CHECK(3, sscanf(why,
                    "cannot map a capacity of 64.0 MiB: this process has addresses for %u.0 MiB "
                    "in one piece",
                    &mib) == 1);
    CHECK(4, mib >= 18 && mib <= 20);
    return 0;
}

START_TEST(a_capacity_needs_addresses)
{
    run_in_child(with_few_addresses);
}
END_TEST

START_TEST(load_follows_the_mark_to_the_page)
{
    uint64_t before = status_value("RssShmem:");
    make(50 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    ck_assert_int_eq(file_of().st_size, 0);
    ck_assert_uint_eq(status_value("RssShmem:"), before);
    ck_assert_uint_eq(backing_committed_bytes(backing), 0);

    uint64_t marks[] = {page, 3 * page, 8 * MIB, 8 * MIB + page, 50 * MIB}, new_bytes, mark = 0;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        ck_assert_int_eq(backing_grow(backing, marks[i], &new_bytes), 0);
        ck_assert_uint_eq(new_bytes, marks[i] - mark);
        ck_assert_uint_eq(backing_committed_bytes(backing), mark);
        ck_assert_uint_eq(backing_pending_bytes(backing), new_bytes);
        ck_assert_int_eq(file_of().st_size, (off_t)marks[i]);
        expect_near(status_value("RssShmem:") - before, mark, lag_bytes());
        ck_assert_int_eq(backing_populate(backing, mark, new_bytes), 0);
        backing_committed(backing, new_bytes);
        mark = marks[i];
        ck_assert_uint_eq(backing_committed_bytes(backing), mark);
        ck_assert_uint_eq(backing_pending_bytes(backing), 0);
        expect_near(status_value("RssShmem:") - before, mark, lag_bytes());
        ck_assert_uint_eq(file_bytes(), mark);
    }
    ck_assert_int_eq(backing_grow(backing, page, &new_bytes), 0);
    ck_assert_uint_eq(new_bytes, 0);
    ck_assert_int_eq(file_of().st_size, 50 << 20);
    new_bytes = 42;
    ck_assert_int_eq(backing_grow(backing, 50 * MIB + page, &new_bytes), -EINVAL);
    ck_assert_int_eq(backing_grow(backing, UINT64_MAX, &new_bytes), -EINVAL);
    ck_assert_uint_eq(new_bytes, 42);
}
END_TEST

START_TEST(two_growths_in_flight)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    uint64_t first, second;
    ck_assert_int_eq(backing_grow(backing, 2 * MIB, &first), 0);
    ck_assert_int_eq(backing_grow(backing, 5 * MIB, &second), 0);
    ck_assert_uint_eq(first, 2 * MIB);
    ck_assert_uint_eq(second, 3 * MIB);
    ck_assert_int_eq(backing_populate(backing, 2 * MIB, 3 * MIB), 0);
    backing_committed(backing, second);
    ck_assert_uint_eq(backing_pending_bytes(backing), 2 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(backing), 3 * MIB);
    ck_assert_uint_eq(file_bytes(), 3 * MIB);
    /* Beyond the mark nothing is committed, and there is no signal. */
    ck_assert_int_eq(backing_populate(backing, 5 * MIB, MIB), -ENOMEM);
}
END_TEST

/* Linux before 5.14 does not know the advice. */
static int without_populate(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 23, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        printf("skipped: no seccomp filter can be set here\n");
        fflush(stdout);
        return 0;
    }
    make(20 * MIB + page, HUGE_PAGES_NEVER, COMMIT_BOOT);
    /* Each page is touched once. It is several of the kernel's if the test believes in larger ones.
     */
    CHECK(1, file_bytes() == backing_capacity_bytes(backing) / page * getauxval(AT_PAGESZ));
    backing_base(backing)[page] = 3;
    CHECK(2, backing_populate(backing, page, 2 * page) == 0 && backing_base(backing)[page] == 3);
    teardown();
    return 0;
}

START_TEST(old_kernels_are_populated_by_touching)
{
    run_in_child(without_populate);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backing");
    TCase *plain = tcase_create("plain");
    tcase_set_timeout(plain, 120);
    tcase_add_checked_fixture(plain, setup, teardown);
    tcase_add_test(plain, boot_commits_everything);
    tcase_add_test(plain, clients_can_only_read);
    tcase_add_test(plain, cores_do_not_hold_it);
    tcase_add_test(plain, absurd_capacities_are_refused);
    tcase_add_test(plain, a_capacity_needs_addresses);
    tcase_add_test(plain, load_follows_the_mark_to_the_page);
    tcase_add_test(plain, two_growths_in_flight);
    tcase_add_test(plain, old_kernels_are_populated_by_touching);
    suite_add_tcase(suite, plain);
    return run_suite(suite);
}
