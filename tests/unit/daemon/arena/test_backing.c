/* The arena's memory, as the operating system shows it: /proc, fstat and smaps, never the module's
 * own word. The tests that need a system setting change it as root and put it back. */
#include "daemon/arena/backing.h"

#include "daemon/monitor/monitor.h"
#include "daemon/system/procfs.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define MIB           (UINT64_C(1) << 20)
#define HUGE          (2 * MIB)
#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define PMD_SIZE      "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"
#define NR_HUGEPAGES  "/proc/sys/vm/nr_hugepages"

static uint64_t page;

static uint64_t proc_value(const char *file, const char *key)
{
    _cleanup_(closep) int fd = procfs_open("/proc", file);
    ck_assert_int_ge(fd, 0);
    struct procfs_reader reader;
    procfs_begin(&reader, fd);
    char *line;
    uint64_t value;
    while (procfs_next_line(&reader, &line) > 0)
        if (procfs_number(line, key, &value))
            return value;
    ck_abort_msg("%s lacks %s", file, key);
    return 0;
}

static uint64_t status_value(const char *key)
{
    return proc_value("self/status", key);
}

/* From Linux 6.16 on the counters are summed up exactly; before, up to 64 pages a thread or CPU are
 * not in yet. */
static uint64_t lag_bytes(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    uname(&name);
    sscanf(name.release, "%u.%u", &major, &minor);
    if (major > 6 || (major == 6 && minor >= 16))
        return 0;
    return 64 * page * (uint64_t)sysconf(_SC_NPROCESSORS_CONF);
}

static void expect_near(uint64_t value, uint64_t expected, uint64_t slack)
{
    ck_assert_msg(value <= expected + slack && value + slack >= expected,
                  "%llu is not %llu within %llu", (unsigned long long)value,
                  (unsigned long long)expected, (unsigned long long)slack);
}

static struct stat file_of(const struct backing *backing)
{
    struct stat status;
    ck_assert_int_eq(fstat(backing_fd(backing), &status), 0);
    return status;
}

static uint64_t file_bytes(const struct backing *backing)
{
    return (uint64_t)file_of(backing).st_blocks * 512;
}

static unsigned n_fds(void)
{
    unsigned n = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}

static struct backing *make(uint64_t capacity_bytes, enum huge_pages huge_pages, enum commit commit,
                            bool lock)
{
    struct backing *backing = NULL;
    char why[BACKING_WHY_MAX] = "";
    int r = backing_new(&(struct backing_config){capacity_bytes, huge_pages, commit, lock},
                        &backing, why);
    ck_assert_msg(r == 0, "%s", why);
    return backing;
}

static void grow_and_commit(struct backing *backing, uint64_t mark_bytes)
{
    uint64_t new_bytes = 0;
    ck_assert_int_eq(backing_grow(backing, mark_bytes, &new_bytes), 0);
    ck_assert_int_eq(backing_populate(backing, mark_bytes - new_bytes, new_bytes), 0);
    backing_committed(backing, new_bytes);
}

START_TEST(boot_commits_everything)
{
    uint64_t before = status_value("RssShmem:");
    struct backing *backing = make(50 * MIB + 123, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    expect_near(status_value("RssShmem:") - before, 50 * MIB, lag_bytes());
    ck_assert_uint_eq(file_bytes(backing), 50 * MIB);
    ck_assert_int_eq(file_of(backing).st_size, 50 << 20);
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
    backing_free(backing);
    ck_assert_uint_eq(status_value("RssShmem:"), before);
    ck_assert_ptr_null(backing_free(NULL));
}
END_TEST

START_TEST(clients_can_only_read)
{
    struct backing *backing = make(MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    ck_assert_uint_eq(file_of(backing).st_mode & 07777, 0400);
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
    backing_free(backing);
}
END_TEST

START_TEST(cores_do_not_hold_it)
{
    struct backing *backing = make(MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, false);
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
    backing_free(backing);
}
END_TEST

static void expect_refusal(uint64_t capacity_bytes, enum huge_pages huge_pages, enum commit commit,
                           int error, const char *text)
{
    struct backing *backing = NULL;
    char why[BACKING_WHY_MAX] = "";
    uint64_t shmem = status_value("RssShmem:"), hugetlb = status_value("HugetlbPages:");
    unsigned fds = n_fds();
    ck_assert_int_eq(
        backing_new(&(struct backing_config){capacity_bytes, huge_pages, commit, false}, &backing,
                    why),
        error);
    ck_assert_msg(strstr(why, text), "\"%s\" lacks \"%s\"", why, text);
    ck_assert_ptr_null(backing);
    ck_assert_uint_eq(status_value("RssShmem:"), shmem);
    ck_assert_uint_eq(status_value("HugetlbPages:"), hugetlb);
    ck_assert_uint_eq(n_fds(), fds);
}

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
    struct backing *backing = make(page, HUGE_PAGES_AUTO, COMMIT_BOOT, false);
    ck_assert_uint_eq(file_bytes(backing), page);
    backing_free(backing);
}
END_TEST

START_TEST(load_follows_the_mark_to_the_page)
{
    uint64_t before = status_value("RssShmem:");
    struct backing *backing = make(50 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, false);
    ck_assert_int_eq(file_of(backing).st_size, 0);
    ck_assert_uint_eq(status_value("RssShmem:"), before);
    ck_assert_uint_eq(backing_committed_bytes(backing), 0);

    uint64_t marks[] = {page, 3 * page, 8 * MIB, 8 * MIB + page, 50 * MIB}, new_bytes, mark = 0;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        ck_assert_int_eq(backing_grow(backing, marks[i], &new_bytes), 0);
        ck_assert_uint_eq(new_bytes, marks[i] - mark);
        ck_assert_uint_eq(backing_committed_bytes(backing), mark);
        ck_assert_uint_eq(backing_pending_bytes(backing), new_bytes);
        ck_assert_int_eq(file_of(backing).st_size, (off_t)marks[i]);
        expect_near(status_value("RssShmem:") - before, mark, lag_bytes());
        ck_assert_int_eq(backing_populate(backing, mark, new_bytes), 0);
        backing_committed(backing, new_bytes);
        mark = marks[i];
        ck_assert_uint_eq(backing_committed_bytes(backing), mark);
        ck_assert_uint_eq(backing_pending_bytes(backing), 0);
        expect_near(status_value("RssShmem:") - before, mark, lag_bytes());
        ck_assert_uint_eq(file_bytes(backing), mark);
    }
    ck_assert_int_eq(backing_grow(backing, page, &new_bytes), 0);
    ck_assert_uint_eq(new_bytes, 0);
    ck_assert_int_eq(file_of(backing).st_size, 50 << 20);
    new_bytes = 42;
    ck_assert_int_eq(backing_grow(backing, 50 * MIB + page, &new_bytes), -EINVAL);
    ck_assert_int_eq(backing_grow(backing, UINT64_MAX, &new_bytes), -EINVAL);
    ck_assert_uint_eq(new_bytes, 42);
    backing_free(backing);
}
END_TEST

START_TEST(two_growths_in_flight)
{
    struct backing *backing = make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, false);
    uint64_t first, second;
    ck_assert_int_eq(backing_grow(backing, 2 * MIB, &first), 0);
    ck_assert_int_eq(backing_grow(backing, 5 * MIB, &second), 0);
    ck_assert_uint_eq(first, 2 * MIB);
    ck_assert_uint_eq(second, 3 * MIB);
    ck_assert_int_eq(backing_populate(backing, 2 * MIB, 3 * MIB), 0);
    backing_committed(backing, second);
    ck_assert_uint_eq(backing_pending_bytes(backing), 2 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(backing), 3 * MIB);
    ck_assert_uint_eq(file_bytes(backing), 3 * MIB);
    /* Beyond the mark there is nothing to commit, and no signal. */
    ck_assert_int_eq(backing_populate(backing, 5 * MIB, MIB), -ENOMEM);
    backing_free(backing);
}
END_TEST

/* Runs `body` in a child, whose exit status is its result: it changes limits or filters for good.
 */
static void run_in_child(int (*body)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(body());
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    ck_assert_msg(WEXITSTATUS(status) == 0, "check %d failed", WEXITSTATUS(status));
}

#define CHECK(number, condition) \
    do {                         \
        if (!(condition))        \
            return number;       \
    } while (0)

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
    struct backing *backing = make(20 * MIB + page, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    CHECK(1, file_bytes(backing) == backing_capacity_bytes(backing));
    backing_base(backing)[page] = 3;
    CHECK(2, backing_populate(backing, page, 2 * page) == 0 && backing_base(backing)[page] == 3);
    backing_free(backing);
    return 0;
}

START_TEST(old_kernels_are_populated_by_touching)
{
    run_in_child(without_populate);
}
END_TEST

/* What the service manager does between two processes: the file outlives its mapping. */
static int leave(struct backing *backing)
{
    int fd = fcntl(backing_fd(backing), F_DUPFD_CLOEXEC, 3);
    ck_assert_int_ge(fd, 0);
    backing_free(backing);
    return fd;
}

/* A different byte on every page, and more than one of them. */
static void write_pattern(unsigned char *base, uint64_t n_bytes)
{
    for (uint64_t i = 0; i < n_bytes; i += 509)
        base[i] = (unsigned char)(i / 509 * 7 + 3);
}

static bool has_pattern(const unsigned char *base, uint64_t begin, uint64_t end)
{
    for (uint64_t i = (begin + 508) / 509 * 509; i < end; i += 509)
        if (base[i] != (unsigned char)(i / 509 * 7 + 3))
            return false;
    return true;
}

static struct backing *adopt(uint64_t capacity_bytes, enum huge_pages huge_pages,
                             enum commit commit, bool lock, int fd)
{
    struct backing *backing = NULL;
    char why[BACKING_WHY_MAX] = "";
    int r = backing_adopt(&(struct backing_config){capacity_bytes, huge_pages, commit, lock}, fd,
                          &backing, why);
    ck_assert_msg(r == 0, "%s", why);
    return backing;
}

/* The descriptor is gone all the same, and the file is as it was. */
static void expect_no_adoption(uint64_t capacity_bytes, enum huge_pages huge_pages,
                               enum commit commit, int fd, int error, const char *text)
{
    struct backing *backing = NULL;
    char why[BACKING_WHY_MAX] = "";
    struct stat before, after;
    _cleanup_(closep) int kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    ck_assert_int_eq(fstat(kept, &before), 0);
    uint64_t shmem = status_value("RssShmem:"), hugetlb = status_value("HugetlbPages:");
    unsigned fds = n_fds();
    ck_assert_int_eq(
        backing_adopt(&(struct backing_config){capacity_bytes, huge_pages, commit, false}, fd,
                      &backing, why),
        error);
    ck_assert_msg(strstr(why, text), "\"%s\" lacks \"%s\"", why, text);
    ck_assert_ptr_null(backing);
    ck_assert_uint_eq(status_value("RssShmem:"), shmem);
    ck_assert_uint_eq(status_value("HugetlbPages:"), hugetlb);
    ck_assert_uint_eq(n_fds(), fds - 1);
    ck_assert_int_eq(fstat(kept, &after), 0);
    ck_assert_int_eq(after.st_size, before.st_size);
    ck_assert_int_eq(after.st_blocks, before.st_blocks);
}

START_TEST(adopted_bytes_are_intact)
{
    unsigned fds = n_fds();
    struct backing *backing = make(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    write_pattern(backing_base(backing), 20 * MIB);
    ino_t inode = file_of(backing).st_ino;
    int fd = leave(backing);
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    uint64_t shmem = status_value("RssShmem:");

    backing = adopt(20 * MIB + 123, HUGE_PAGES_NEVER, COMMIT_BOOT, false, fd);
    ck_assert_int_eq(backing_fd(backing), fd);
    ck_assert_uint_eq(file_of(backing).st_ino, inode);
    ck_assert(has_pattern(backing_base(backing), 0, 20 * MIB));
    /* All of it is mapped, and nothing came on top. */
    expect_near(status_value("RssShmem:") - shmem, 20 * MIB, lag_bytes());
    ck_assert_uint_eq(file_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_capacity_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_mark_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_pending_bytes(backing), 0);
    ck_assert_str_eq(backing_name(backing), "plain-pages");

    /* Again what clients can only read, and this process can write. */
    ck_assert_uint_eq(file_of(backing).st_mode & 07777, 0400);
    ck_assert_int_eq(fcntl(backing_fd(backing), F_GETFD), FD_CLOEXEC);
    int client = backing_open_for_client(backing), other = backing_open_for_client(backing);
    ck_assert_int_eq(fcntl(client, F_GETFL) & O_ACCMODE, O_RDONLY);
    unsigned char byte = 0;
    backing_base(backing)[MIB + 1] = 99;
    ck_assert_int_eq(pread(client, &byte, 1, MIB + 1), 1);
    ck_assert_uint_eq(byte, 99);
    /* Nothing that one client does to its descriptor is seen in another's. */
    ck_assert_int_eq(fcntl(client, F_SETFL, O_NONBLOCK | O_APPEND), 0);
    ck_assert_int_eq(lseek(client, 7, SEEK_SET), 7);
    ck_assert_int_eq(flock(client, LOCK_EX), 0);
    ck_assert_int_eq(fcntl(other, F_GETFL) & (O_NONBLOCK | O_APPEND), 0);
    ck_assert_int_eq(lseek(other, 0, SEEK_CUR), 0);
    ck_assert_int_eq(fcntl(backing_fd(backing), F_GETFL) & (O_NONBLOCK | O_APPEND), 0);
    ck_assert_int_eq(lseek(backing_fd(backing), 0, SEEK_CUR), 0);
    close(client);
    close(other);
    backing_free(backing);
    ck_assert_uint_eq(n_fds(), fds);
}
END_TEST

START_TEST(a_hole_in_what_is_adopted_is_committed)
{
    struct backing *backing = make(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    write_pattern(backing_base(backing), 20 * MIB);
    int fd = leave(backing);
    ck_assert_int_eq(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 << 20, (off_t)(MIB + page)), 0);
    backing = adopt(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false, fd);
    ck_assert_uint_eq(file_bytes(backing), 20 * MIB);
    ck_assert(has_pattern(backing_base(backing), 0, 9 * MIB));
    ck_assert(has_pattern(backing_base(backing), 10 * MIB + page, 20 * MIB));
    for (uint64_t i = 9 * MIB; i < 10 * MIB + page; i += 509)
        ck_assert_uint_eq(backing_base(backing)[i], 0);
    backing_free(backing);
}
END_TEST

START_TEST(only_what_fits_is_adopted)
{
    struct backing *backing = make(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    write_pattern(backing_base(backing), 4 * MIB);
    int fd = leave(backing);
    expect_no_adoption(4 * MIB + page, HUGE_PAGES_NEVER, COMMIT_BOOT, dup(fd), -ESTALE,
                       "has 4.0 MiB, not");
    expect_no_adoption(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, dup(fd), -ESTALE,
                       "has 4.0 MiB, not 8.0 MiB");
    expect_no_adoption(3 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, dup(fd), -ESTALE,
                       "has 4.0 MiB, not 3.0 MiB");
    expect_no_adoption(3 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, dup(fd), -ESTALE,
                       "has 4.0 MiB, not 3.0 MiB");
    expect_no_adoption(page - 1, HUGE_PAGES_NEVER, COMMIT_BOOT, dup(fd), -EINVAL,
                       "less than one page");
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    expect_no_adoption(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, dup(fd), -ESTALE, "has 0 B, not");
    ck_assert_int_eq(ftruncate(fd, (off_t)(MIB + 1)), 0);
    expect_no_adoption(4 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD, dup(fd), -ESTALE, "within a page");
    close(fd);

    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    struct backing *none = NULL;
    char why[BACKING_WHY_MAX] = "";
    ck_assert_int_lt(
        backing_adopt(&(struct backing_config){MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false}, ends[0],
                      &none, why),
        0);
    ck_assert(!none && *why);
    ck_assert_int_lt(fcntl(ends[0], F_GETFD), 0);
    close(ends[1]);
}
END_TEST

/* commit = load: the file is as long as the arena was ever in use. */
START_TEST(adopted_as_far_as_layers_arrived)
{
    static const uint64_t marks[] = {0, 1, 300, 1024};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        uint64_t mark = marks[i] * page, new_bytes = 0, half = mark / page / 2 * page;
        struct backing *backing = make(1024 * page, HUGE_PAGES_NEVER, COMMIT_LOAD, false);
        if (mark > 0)
            grow_and_commit(backing, mark);
        write_pattern(backing_base(backing), mark);
        int fd = leave(backing);
        /* The last load was in flight: some of its pages are not there yet. */
        if (half > 0)
            ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)half,
                                       (off_t)(mark - half)),
                             0);
        backing = adopt(1024 * page, HUGE_PAGES_NEVER, COMMIT_LOAD, false, fd);
        ck_assert_uint_eq(backing_mark_bytes(backing), mark);
        ck_assert_uint_eq(backing_committed_bytes(backing), mark);
        ck_assert_uint_eq(backing_pending_bytes(backing), 0);
        ck_assert_uint_eq(file_bytes(backing), mark);
        ck_assert_int_eq(file_of(backing).st_size, (off_t)mark);
        ck_assert(has_pattern(backing_base(backing), 0, half > 0 ? half : mark));
        ck_assert_int_eq(backing_commit(backing), COMMIT_LOAD);

        ck_assert_int_eq(backing_grow(backing, mark, &new_bytes), 0);
        ck_assert_uint_eq(new_bytes, 0);
        if (mark < 1024 * page)
            grow_and_commit(backing, mark + page);
        ck_assert_uint_eq(file_bytes(backing), mark < 1024 * page ? mark + page : mark);
        ck_assert_int_eq(backing_grow(backing, 1025 * page, &new_bytes), -EINVAL);
        backing_free(backing);
    }
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

/* System settings: saved and changed in the parent, so that they come back whatever a test does. */
static char saved_shmem[32], saved_pool[32];

static bool write_setting(const char *path, const char *value)
{
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
}

static bool read_setting(const char *path, char *ret, size_t size)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);
    if (n <= 0)
        return false;
    ret[n] = '\0';
    return true;
}

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
    struct backing *backing = make(50 * MIB + page, HUGE_PAGES_AUTO, COMMIT_BOOT, false);
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    ck_assert_uint_eq(backing_ahead_bytes(backing), 0);
    ck_assert_uint_eq((uintptr_t)backing_base(backing) % HUGE, 0);
    expect_near(status_value("RssShmem:") - before, 50 * MIB + page, HUGE);
    ck_assert_uint_ge(file_bytes(backing), 50 * MIB + page);
    ck_assert_uint_le(file_bytes(backing), 52 * MIB);
    backing_free(backing);

    backing = make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    backing_free(backing);
    backing = make(MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, false);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert_uint_eq(file_bytes(backing), MIB);
    backing_free(backing);
}
END_TEST

START_TEST(transparent_as_layers_arrive)
{
    if (!set_shmem("advise"))
        return;
    uint64_t before = status_value("RssShmem:");
    struct backing *backing = make(50 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD, false);
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    ck_assert_uint_eq(backing_ahead_bytes(backing), HUGE);
    ck_assert_uint_eq(file_bytes(backing), 0);
    struct monitor *monitor = NULL;
    ck_assert_int_eq(monitor_new(backing, "/proc", &monitor), 0);
    for (uint64_t mark = page; mark <= 50 * MIB; mark += 3 * MIB + page) {
        grow_and_commit(backing, mark);
        ck_assert_uint_ge(file_bytes(backing), mark);
        ck_assert_uint_lt(file_bytes(backing), mark + HUGE);
        expect_near(status_value("RssShmem:") - before, mark, HUGE);
        /* What is ahead is allowed for. */
        ck_assert_int_eq(monitor_sample(monitor), 0);
        ck_assert_int_eq(monitor_last(monitor)->drift_bytes, 0);
        ck_assert(monitor_last(monitor)->aligned);
    }
    monitor_free(monitor);
    backing_free(backing);
}
END_TEST

START_TEST(plain_where_transparent_pages_are_off)
{
    if (!set_shmem("never"))
        return;
    struct backing *backing = make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, false);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    backing_free(backing);
    backing = make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD, false);
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert_uint_eq(backing_ahead_bytes(backing), 0);
    /* What was found at start holds. */
    ck_assert(set_shmem("advise"));
    grow_and_commit(backing, page);
    ck_assert_uint_eq(file_bytes(backing), page);
    backing_free(backing);
}
END_TEST

START_TEST(transparent_pages_are_adopted)
{
    if (!set_shmem("advise"))
        return;
    struct backing *backing = make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, false);
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    write_pattern(backing_base(backing), 8 * MIB);
    backing = adopt(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, false, leave(backing));
    ck_assert_str_eq(backing_name(backing), "transparent-huge-pages");
    ck_assert_uint_eq((uintptr_t)backing_base(backing) % HUGE, 0);
    ck_assert(has_pattern(backing_base(backing), 0, 8 * MIB));
    ck_assert_uint_eq(file_bytes(backing), 8 * MIB);
    backing_free(backing);

    /* Pages that are there stay what they are. */
    backing = make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false);
    write_pattern(backing_base(backing), 8 * MIB);
    backing = adopt(8 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT, false, leave(backing));
    ck_assert_str_eq(backing_name(backing), "plain-pages");
    ck_assert(has_pattern(backing_base(backing), 0, 8 * MIB));
    ck_assert_uint_eq(file_bytes(backing), 8 * MIB);
    backing_free(backing);

    /* A huge page that reaches beyond the mark: what is above it is not in use. */
    backing = make(8 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD, false);
    grow_and_commit(backing, 3 * MIB);
    write_pattern(backing_base(backing), 3 * MIB);
    backing = adopt(8 * MIB, HUGE_PAGES_AUTO, COMMIT_LOAD, false, leave(backing));
    ck_assert_uint_eq(backing_mark_bytes(backing), 3 * MIB);
    ck_assert_uint_eq(backing_ahead_bytes(backing), HUGE);
    ck_assert_uint_le(file_bytes(backing), 3 * MIB + HUGE);
    ck_assert(has_pattern(backing_base(backing), 0, 3 * MIB));
    struct monitor *monitor = NULL;
    ck_assert_int_eq(monitor_new(backing, "/proc", &monitor), 0);
    ck_assert_int_eq(monitor_sample(monitor), 0);
    ck_assert(monitor_last(monitor)->aligned);
    monitor_free(monitor);
    backing_free(backing);
}
END_TEST

static void save_pool(void)
{
    if (!read_setting(NR_HUGEPAGES, saved_pool, sizeof saved_pool) ||
        !write_setting(NR_HUGEPAGES, saved_pool))
        *saved_pool = '\0';
}

static void restore_pool(void)
{
    if (*saved_pool)
        ck_assert(write_setting(NR_HUGEPAGES, saved_pool));
}

/* Makes a pool with exactly `n` free pages of 2 MiB. */
static bool set_pool(unsigned n)
{
    char value[32];
    snprintf(value, sizeof value, "%lu", strtoul(saved_pool, NULL, 10) + n);
    if (*saved_pool && proc_value("meminfo", "Hugepagesize:") == HUGE &&
        write_setting(NR_HUGEPAGES, value) && proc_value("meminfo", "HugePages_Free:") == n &&
        proc_value("meminfo", "HugePages_Rsvd:") == 0)
        return true;
    printf("skipped: no pool of reserved huge pages can be made here\n");
    return false;
}

START_TEST(reserved_at_boot)
{
    if (!set_pool(10))
        return;
    struct backing *backing = make(20 * MIB + page, HUGE_PAGES_RESERVED, COMMIT_BOOT, false);
    ck_assert_str_eq(backing_name(backing), "reserved-huge-pages");
    ck_assert_uint_eq(backing_page_bytes(backing), HUGE);
    ck_assert_uint_eq(backing_capacity_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(status_value("HugetlbPages:"), 20 * MIB);
    ck_assert_uint_eq(file_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 0);
    backing_free(backing);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 10);
}
END_TEST

START_TEST(reserved_as_layers_arrive)
{
    if (!set_pool(10))
        return;
    struct backing *backing = make(20 * MIB, HUGE_PAGES_RESERVED, COMMIT_LOAD, false);
    ck_assert_int_eq(file_of(backing).st_size, 0);
    ck_assert_uint_eq(status_value("HugetlbPages:"), 0);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 10);
    uint64_t new_bytes = 0;
    ck_assert_int_eq(backing_grow(backing, page, &new_bytes), -EINVAL);
    for (uint64_t n = 2; n <= 10; n += 4) {
        grow_and_commit(backing, n * HUGE);
        ck_assert_int_eq(file_of(backing).st_size, (off_t)(n * HUGE));
        ck_assert_uint_eq(status_value("HugetlbPages:"), n * HUGE);
        ck_assert_uint_eq(file_bytes(backing), n * HUGE);
        /* Nobody else can have what the arena has not come to yet. */
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 10 - n);
    }
    backing_free(backing);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 10);
    ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 0);
}
END_TEST

START_TEST(reserved_pages_are_adopted)
{
    if (!set_pool(10))
        return;
    for (enum commit commit = COMMIT_BOOT; commit <= COMMIT_LOAD; commit++) {
        struct backing *backing = make(20 * MIB, HUGE_PAGES_RESERVED, commit, false);
        uint64_t mark = commit == COMMIT_BOOT ? 20 * MIB : 3 * HUGE;
        if (commit == COMMIT_LOAD)
            grow_and_commit(backing, mark);
        write_pattern(backing_base(backing), mark);
        int fd = leave(backing);
        expect_no_adoption(20 * MIB, HUGE_PAGES_NEVER, commit, dup(fd), -ESTALE, "other pages");
        expect_no_adoption(20 * MIB, HUGE_PAGES_AUTO, commit, dup(fd), -ESTALE, "other pages");
        /* The pool has no room for a second one. */
        backing = adopt(20 * MIB, HUGE_PAGES_RESERVED, commit, false, fd);
        ck_assert_str_eq(backing_name(backing), "reserved-huge-pages");
        ck_assert_uint_eq(backing_page_bytes(backing), HUGE);
        ck_assert_uint_eq(backing_mark_bytes(backing), mark);
        ck_assert(has_pattern(backing_base(backing), 0, mark));
        ck_assert_uint_eq(status_value("HugetlbPages:"), mark);
        ck_assert_uint_eq(file_bytes(backing), mark);
        ck_assert_int_eq(file_of(backing).st_size, (off_t)mark);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 10 - mark / HUGE);
        if (commit == COMMIT_LOAD)
            grow_and_commit(backing, 20 * MIB);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 0);
        backing_free(backing);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Free:"), 10);
        ck_assert_uint_eq(proc_value("meminfo", "HugePages_Rsvd:"), 0);
    }
    int fd = leave(make(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false));
    expect_no_adoption(20 * MIB, HUGE_PAGES_RESERVED, COMMIT_BOOT, fd, -ESTALE, "other pages");
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
    /* What another has reserved but not touched yet counts as gone. */
    struct backing *other = make(6 * MIB, HUGE_PAGES_RESERVED, COMMIT_LOAD, false);
    expect_refusal(4 * MIB, HUGE_PAGES_RESERVED, COMMIT_BOOT, -ENOMEM, "but only 1 are free");
    backing_free(other);
}
END_TEST

int main(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    Suite *suite = suite_create("backing");
    TCase *plain = tcase_create("plain");
    tcase_set_timeout(plain, 120);
    tcase_add_test(plain, boot_commits_everything);
    tcase_add_test(plain, clients_can_only_read);
    tcase_add_test(plain, cores_do_not_hold_it);
    tcase_add_test(plain, absurd_capacities_are_refused);
    tcase_add_test(plain, load_follows_the_mark_to_the_page);
    tcase_add_test(plain, two_growths_in_flight);
    tcase_add_test(plain, mlock_beyond_the_limit_is_refused);
    tcase_add_test(plain, mlock_locks);
    tcase_add_test(plain, old_kernels_are_populated_by_touching);
    tcase_add_test(plain, adopted_bytes_are_intact);
    tcase_add_test(plain, a_hole_in_what_is_adopted_is_committed);
    tcase_add_test(plain, only_what_fits_is_adopted);
    tcase_add_test(plain, adopted_as_far_as_layers_arrived);
    tcase_add_test(plain, adopted_and_locked);
    tcase_add_test(plain, adopted_beyond_the_lock_limit_is_refused);
    suite_add_tcase(suite, plain);
    TCase *transparent = tcase_create("transparent");
    tcase_set_timeout(transparent, 120);
    tcase_add_unchecked_fixture(transparent, save_shmem, restore_shmem);
    tcase_add_test(transparent, transparent_at_boot);
    tcase_add_test(transparent, transparent_as_layers_arrive);
    tcase_add_test(transparent, plain_where_transparent_pages_are_off);
    tcase_add_test(transparent, transparent_pages_are_adopted);
    suite_add_tcase(suite, transparent);
    TCase *reserved = tcase_create("reserved");
    tcase_set_timeout(reserved, 120);
    tcase_add_unchecked_fixture(reserved, save_pool, restore_pool);
    tcase_add_test(reserved, reserved_at_boot);
    tcase_add_test(reserved, reserved_as_layers_arrive);
    tcase_add_test(reserved, reserved_pages_are_adopted);
    tcase_add_test(reserved, a_pool_too_small_is_refused);
    suite_add_tcase(suite, reserved);
    return run_suite(suite);
}
