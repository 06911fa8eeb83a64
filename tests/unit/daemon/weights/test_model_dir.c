/* Files below model-dir can be opened, and no others. */
#include "daemon/weights/model_dir.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Paths in models/, next to which is secret; and the result of opening each: 0 or an errno. */
static const struct {
    const char *path;
    int opened;
} paths[] = {
    {"file", 0},
    {"./file", 0},
    {"sub//file", 0},
    {"sub/./deep/file", 0},
    {"passage/file", 0}, /* a directory that cannot be listed */
    /* Paths that lead out, or seem to. */
    {"../secret", -EXDEV},
    {"..", -EXDEV},
    {"sub/../file", -EXDEV},
    {"sub/..", -EXDEV},
    {"sub/../../secret", -EXDEV},
    {"sub/../../models/file", -EXDEV},
    {"/etc/passwd", -EXDEV},
    {"/", -EXDEV},
    {"//file", -EXDEV},
    {"/proc/self/root/etc/passwd", -EXDEV},
    /* Symbolic links to anywhere. */
    {"link", -ELOOP},
    {"link/", -ELOOP},
    {"sub/up", -ELOOP},
    {"sub-link/file", -ELOOP},
    {"relative-escape", -ELOOP},
    {"absolute-escape", -ELOOP},
    {"absolute-inside", -ELOOP},
    {"directory-escape/secret", -ELOOP},
    {"loop", -ELOOP},
    {"magic/etc/passwd", -ELOOP},
    {"dangling", -ELOOP},
    {"dangling/file", -ELOOP},
    /* Not a file. */
    {"", -EINVAL},
    {".", -EINVAL},
    {"sub", -EINVAL},
    {"sub/", -EINVAL},
    {"fifo", -EINVAL},
    {"socket", -EINVAL},
    {"fifo/", -ENOTDIR},
    {"file/", -ENOTDIR},
    {"file/file", -ENOTDIR},
    {"missing", -ENOENT},
    {"missing/file", -ENOENT},
    {"...", -ENOENT},
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
    ck_assert_int_eq(mkdir("models/passage", 0700), 0);
    write_file("models/passage/file", "f");
    ck_assert_int_eq(chmod("models/passage", 0100), 0);
    ck_assert_int_eq(mkfifo("models/fifo", 0600), 0);
    ck_assert_int_eq(symlink("sub/file", "models/link"), 0);
    ck_assert_int_eq(symlink("../file", "models/sub/up"), 0);
    ck_assert_int_eq(symlink("sub", "models/sub-link"), 0);
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
        "models/passage/file",
        "models/passage",
        "models/fifo",
        "models/link",
        "models/sub/up",
        "models/sub-link",
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
    ck_assert_int_eq(chmod("models/passage", 0700), 0);
    for (unsigned i = 0; i < sizeof entries / sizeof entries[0]; i++)
        ck_assert_int_eq(remove(entries[i]), 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* Whether the result is as expected; prints it if not. */
static bool check_path(const char *path, int expected)
{
    struct stat status;
    char byte;

    int fd = model_dir_open("models", path);
    bool right = expected == 0 ? fd >= 0 : fd == expected;
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

START_TEST(opens_below_and_nothing_else)
{
    int before = dup(0);

    for (unsigned i = 0; i < N_PATHS; i++)
        ck_assert_msg(check_path(paths[i].path, paths[i].opened), "%s", paths[i].path);
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

int main(void)
{
    Suite *suite = suite_create("model_dir");
    TCase *tcase = tcase_create("model_dir");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, opens_below_and_nothing_else);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
