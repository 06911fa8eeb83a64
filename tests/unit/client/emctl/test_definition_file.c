/* The places of a definition's file, and files that are none. */
#include "client/emctl/definition_file.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/test-definition-XXXXXX";
static char path[64];

/* The current directory has `here`, the second directory of the search path has `there`, and both
 * have `both`. */
static void setup(void)
{
    static const char *const files[] = {"here",        "both",       "models/there",
                                        "models/both", "models/dir", "models/-"};

    strcpy(strrchr(directory, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(mkdir("models", 0700), 0);
    ck_assert_int_eq(mkdir("dir", 0700), 0);
    ck_assert_int_eq(mkdir("only-dir", 0700), 0);
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        close(creat(files[i], 0600));
    snprintf(path, sizeof path, "/nowhere::%s/models:", directory);
    setenv("EDGEMIND_PATH", path, 1);
}

static void teardown(void)
{
    static const char *const files[] = {"here",       "both",     "models/there", "models/both",
                                        "models/dir", "models/-", "fifo"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    rmdir("models");
    rmdir("dir");
    rmdir("only-dir");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* `expected` is relative to the directory if it begins with '+', NULL for any. */
static void check_open(const char *name, int r, const char *expected)
{
    char *found = NULL, whole[256];
    int fd = definition_file_open(name, &found);

    if (r == 0)
        ck_assert_int_ge(fd, 0);
    else
        ck_assert_int_eq(fd, r);
    ck_assert_ptr_nonnull(found);
    if (expected) {
        snprintf(whole, sizeof whole, "%s%s", *expected == '+' ? directory : "",
                 *expected == '+' ? expected + 1 : expected);
        ck_assert_str_eq(found, whole);
    }
    free(found);
    if (fd >= 0)
        close(fd);
}

START_TEST(looked_up)
{
    check_open("here", 0, "here");
    check_open("there", 0, "+/models/there");
    check_open("both", 0, "both");
    check_open("dir", 0, "+/models/dir"); /* the directory of that name is no definition */
    check_open("models/there", 0, "models/there");
    check_open("-", 0, "+/models/-");
}
END_TEST

START_TEST(refused)
{
    check_open("./there", -ENOENT, "./there"); /* a path is not searched for */
    check_open("models/nope", -ENOENT, "models/nope");
    check_open("only-dir", -EISDIR, "only-dir");
    check_open("models/", -EISDIR, "models/");
    check_open("fifo", -EINVAL, "fifo"); /* it does not wait for a writer */
    check_open("here/x", -ENOTDIR, "here/x");
}
END_TEST

START_TEST(says_where)
{
    char *tried = NULL;

    ck_assert_int_eq(definition_file_open("nope", &tried), -ENOENT);
    ck_assert_ptr_eq(strstr(tried, "nope, /nowhere/nope, /tmp/"), tried);
    free(tried);
    unsetenv("EDGEMIND_PATH");
    ck_assert_int_eq(definition_file_open("nope", &tried), -ENOENT);
    ck_assert_ptr_nonnull(strstr(tried, "nope, /"));
    free(tried);
    ck_assert_int_eq(definition_file_open("", &tried), -ENOENT);
    free(tried);
}
END_TEST

START_TEST(not_inherited)
{
    char *found = NULL;
    int fd = definition_file_open("here", &found);

    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    free(found);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("definition_file");
    TCase *tests = tcase_create("definition_file");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, looked_up);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, says_where);
    tcase_add_test(tests, not_inherited);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
