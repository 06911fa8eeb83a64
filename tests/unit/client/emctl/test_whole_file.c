/* The old file stays until the new one is whole, wherever the writing ends. */
#include "client/emctl/whole_file.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NEW_BYTES = 20000 };

static char path[512], found[NEW_BYTES + 1];

static void name_file(void)
{
    clear_scratch();
    snprintf(path, sizeof path, "%s", in_scratch("file"));
}

static int count_files(void)
{
    DIR *entries = opendir(scratch);
    int n = 0;

    for (const struct dirent *entry; (entry = readdir(entries));)
        n += entry->d_name[0] != '.';
    closedir(entries);
    return n;
}

static void write_old(void)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "old", 3), 3);
    close(fd);
}

static int write_new(const char *name, int error)
{
    struct whole_file file;
    int r = whole_file_begin(name, &file);

    if (r < 0)
        return r;
    for (int i = 0; i < NEW_BYTES; i++)
        fputc('n', file.stream);
    return whole_file_end(&file, error);
}

static const char *contents(void)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ssize_t n = read(fd, found, NEW_BYTES);
    ck_assert_int_ge(n, 0);
    found[n] = '\0';
    close(fd);
    return found;
}

static bool is_new(void)
{
    const char *text = contents();
    return strspn(text, "n") == NEW_BYTES && text[NEW_BYTES] == '\0';
}

START_TEST(test_replaces)
{
    struct stat status;

    ck_assert_int_eq(write_new(path, 0), 0);
    ck_assert(is_new());
    ck_assert_int_eq(stat(path, &status), 0);
    mode_t mask = umask(0);
    umask(mask);
    ck_assert_uint_eq(status.st_mode & 0777, 0666 & ~mask);
    clear_scratch();
    write_old();
    ck_assert_int_eq(write_new(path, 0), 0);
    ck_assert(is_new());
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert_int_eq(count_files(), 1);
}
END_TEST

START_TEST(test_failure_keeps_the_old_one)
{
    write_old();
    ck_assert_int_eq(write_new(path, -ENOMEM), -ENOMEM);
    ck_assert_str_eq(contents(), "old");
    ck_assert_int_eq(count_files(), 1);
}
END_TEST

/* A limit stops the writing after any number of bytes: then it fails, or the process is killed. */
START_TEST(test_ends_in_the_middle)
{
    bool is_killed = _i == 1;

    for (rlim_t limit = 0; limit < NEW_BYTES; limit += 500) {
        write_old();
        pid_t pid = fork();
        if (pid == 0) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
            signal(SIGXFSZ, is_killed ? SIG_DFL : SIG_IGN);
            _exit(write_new(path, 0) == -EFBIG ? 0 : 1);
        }
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(is_killed ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_str_eq(contents(), "old");
        if (is_killed) { /* what is left over is in nobody's way */
            ck_assert_int_eq(write_new(path, 0), 0);
            ck_assert(is_new());
        }
        ck_assert_int_eq(count_files(), is_killed ? 2 : 1);
        clear_scratch();
    }
}
END_TEST

START_TEST(test_link)
{
    const char *link = in_scratch("link");
    struct stat status;

    ck_assert_int_eq(symlink("file", link), 0);
    write_old();
    ck_assert_int_eq(write_new(link, 0), 0);
    ck_assert(is_new());
    ck_assert_int_eq(lstat(link, &status), 0);
    ck_assert(S_ISLNK(status.st_mode));
}
END_TEST

START_TEST(test_no_regular_file)
{
    int ends[2];
    char name[32];

    ck_assert_int_eq(pipe(ends), 0);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[1]);
    ck_assert_int_eq(write_new(name, 0), 0);
    ck_assert_int_eq(read(ends[0], found, NEW_BYTES), NEW_BYTES);
    close(ends[0]);
    close(ends[1]);
    ck_assert_int_eq(write_new("/dev/full", 0), -ENOSPC);
    ck_assert_int_eq(write_new(scratch, 0), -EISDIR);
    ck_assert_int_eq(write_new("/nowhere/file", 0), -ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("whole_file");
    TCase *tcase = tcase_create("whole_file");
    tcase_add_unchecked_fixture(tcase, make_scratch, remove_scratch);
    tcase_add_checked_fixture(tcase, name_file, NULL);
    tcase_add_test(tcase, test_replaces);
    tcase_add_test(tcase, test_failure_keeps_the_old_one);
    tcase_add_loop_test(tcase, test_ends_in_the_middle, 0, 2);
    tcase_add_test(tcase, test_link);
    tcase_add_test(tcase, test_no_regular_file);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
