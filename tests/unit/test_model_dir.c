/* What can be opened below model-dir, and that nothing outside can: with openat2, and with the walk
 * that stands in for it where a filter hides that call. */
#include "daemon/model_dir.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANY_ERROR = 1 };

/* In models/, which stands beside secret; what each opens to: 0, an errno, or ANY_ERROR. */
static const struct {
    const char *path;
    int opened, walked;
} paths[] = {
    {"file", 0, 0},
    {"./file", 0, 0},
    {"sub//file", 0, 0},
    {"sub/./deep/file", 0, 0},
    {"link", 0, -ELOOP}, /* the walk follows none at all */
    {"sub/up", 0, -ELOOP},
    {"sub/../file", 0, -EXDEV},
    /* Out. */
    {"../secret", -EXDEV, -EXDEV},
    {"..", -EXDEV, -EXDEV},
    {"sub/../../secret", -EXDEV, -EXDEV},
    {"sub/../../models/file", -EXDEV, -EXDEV},
    {"/etc/passwd", -EXDEV, -EXDEV},
    {"/", -EXDEV, -EXDEV},
    {"relative-escape", -EXDEV, -ELOOP},
    {"absolute-escape", -EXDEV, -ELOOP},
    {"absolute-inside", -EXDEV, -ELOOP},
    {"directory-escape/secret", -EXDEV, -ENOTDIR},
    {"loop", -ELOOP, -ELOOP},
    {"/proc/self/root/etc/passwd", -EXDEV, -EXDEV},
    {"magic/etc/passwd", ANY_ERROR, -ENOTDIR},
    /* Not a file. */
    {"", ANY_ERROR, -EINVAL},
    {".", -EINVAL, -EINVAL},
    {"sub", -EINVAL, -EINVAL},
    {"sub/", -EINVAL, -EINVAL},
    {"fifo", -EINVAL, -EINVAL},
    {"socket", -EINVAL, -EINVAL},
    {"file/", -ENOTDIR, -ENOTDIR},
    {"file/file", -ENOTDIR, -ENOTDIR},
    {"missing", -ENOENT, -ENOENT},
    {"missing/file", -ENOENT, -ENOENT},
    {"dangling", -ENOENT, -ELOOP},
};
enum { N_PATHS = sizeof paths / sizeof paths[0] };

static char directory[64];

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void set_up(void)
{
    char inside[128];

    strcpy(directory, "/tmp/em-model-dir-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(mkdir("models", 0700), 0);
    ck_assert_int_eq(mkdir("models/sub", 0700), 0);
    ck_assert_int_eq(mkdir("models/sub/deep", 0700), 0);
    write_file("secret", "s");
    write_file("models/file", "f");
    write_file("models/sub/file", "f");
    write_file("models/sub/deep/file", "f");
    ck_assert_int_eq(mkfifo("models/fifo", 0600), 0);
    ck_assert_int_eq(symlink("sub/file", "models/link"), 0);
    ck_assert_int_eq(symlink("../file", "models/sub/up"), 0);
    ck_assert_int_eq(symlink("../secret", "models/relative-escape"), 0);
    ck_assert_int_eq(symlink("/etc/passwd", "models/absolute-escape"), 0);
    snprintf(inside, sizeof inside, "%s/models/file", directory);
    ck_assert_int_eq(symlink(inside, "models/absolute-inside"), 0);
    ck_assert_int_eq(symlink("..", "models/directory-escape"), 0);
    ck_assert_int_eq(symlink("/proc/self/root", "models/magic"), 0);
    ck_assert_int_eq(symlink("loop", "models/loop"), 0);
    ck_assert_int_eq(symlink("nowhere", "models/dangling"), 0);

    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "models/socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void tear_down(void)
{
    static const char *const entries[] = {
        "secret",
        "models/file",
        "models/sub/file",
        "models/sub/deep/file",
        "models/fifo",
        "models/link",
        "models/sub/up",
        "models/relative-escape",
        "models/absolute-escape",
        "models/absolute-inside",
        "models/directory-escape",
        "models/magic",
        "models/loop",
        "models/dangling",
        "models/socket",
        "models/sub/deep",
        "models/sub",
        "models",
    };
    for (unsigned i = 0; i < sizeof entries / sizeof entries[0]; i++)
        ck_assert_int_eq(remove(entries[i]), 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* Whether it came out as expected; says if not. */
static bool check_path(const char *path, int expected)
{
    struct stat status;
    char byte;

    int fd = model_dir_open("models", path);
    bool right = expected == 0 ? fd >= 0 : expected == ANY_ERROR ? fd < 0 : fd == expected;
    if (!right)
        fprintf(stderr, "\"%s\": %d, expected %d\n", path, fd, expected);
    if (fd < 0)
        return right;
    right = right && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
            fcntl(fd, F_GETFD) == FD_CLOEXEC && pread(fd, &byte, 1, 0) == 1 && byte == 'f' &&
            (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
    close(fd);
    return right;
}

static bool has_openat2(void)
{
    return syscall(SYS_openat2, AT_FDCWD, ".", NULL, 0) >= 0 || errno != ENOSYS;
}

START_TEST(opens_below_and_nothing_else)
{
    bool walks = !has_openat2(); /* as under valgrind */
    int before = dup(0);

    for (unsigned i = 0; i < N_PATHS; i++)
        ck_assert_msg(check_path(paths[i].path, walks ? paths[i].walked : paths[i].opened), "%s",
                      paths[i].path);
    ck_assert_int_eq(model_dir_open("nowhere", "file"), -ENOENT);
    ck_assert_int_eq(model_dir_open("models/file", "file"), -ENOTDIR);
    /* The directory itself may be reached through links: that is its owner's choice. */
    ck_assert_int_eq(symlink("models", "elsewhere"), 0);
    int fd = model_dir_open("elsewhere", "file");
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink("elsewhere"), 0);
    close(fd);

    int after = dup(0);
    ck_assert_int_eq(after, before + 1); /* nothing else stayed open */
    close(before);
    close(after);
}
END_TEST

/* From here on openat2 does not exist for this process. */
static bool hide_openat2(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 && !has_openat2();
}

START_TEST(walks_where_openat2_is_hidden)
{
    enum { NO_FILTERS = 100 };
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int n_wrong = 0, before = dup(0);
        if (!hide_openat2())
            _exit(NO_FILTERS);
        for (unsigned i = 0; i < N_PATHS; i++)
            n_wrong += !check_path(paths[i].path, paths[i].walked);
        n_wrong += dup(0) != before + 1;
        _exit(n_wrong);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_FILTERS)
        puts("SKIP: the walk: no system call filter can be set here");
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_dir");
    TCase *tcase = tcase_create("model_dir");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, opens_below_and_nothing_else);
    tcase_add_test(tcase, walks_where_openat2_is_hidden);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
