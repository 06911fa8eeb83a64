/* The socket that a client chooses. The test does not depend on the system's own socket. */
#include "client/library/socket_path.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM "/run/edgemind/io.edgemind.manager"

static void expect(const char *given, const char *expected)
{
    char *path = socket_path_find(given);
    ck_assert_str_eq(path, expected);
    free(path);
}

START_TEST(given)
{
    setenv("EDGEMIND_SOCKET", "/from/environment", 1);
    expect("/given", "/given");
    expect("given", "given");
    expect(NULL, "/from/environment");
}
END_TEST

START_TEST(by_default)
{
    char directory[] = "/tmp/test-socket-path-XXXXXX", path[128], own[64];
    bool system = access(SYSTEM, F_OK) == 0;

    setenv("EDGEMIND_SOCKET", "", 1);
    unsetenv("XDG_RUNTIME_DIR");
    expect(NULL, SYSTEM);
    unsetenv("EDGEMIND_SOCKET");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    setenv("XDG_RUNTIME_DIR", directory, 1);
    expect(NULL, SYSTEM); /* there is neither */
    snprintf(own, sizeof own, "%s/edgemind", directory);
    snprintf(path, sizeof path, "%s/io.edgemind.manager", own);
    ck_assert_int_eq(mkdir(own, 0700), 0);
    fclose(fopen(path, "we"));
    expect(NULL, system ? SYSTEM : path);
    expect("", system ? SYSTEM : path);
    unlink(path);
    rmdir(own);
    rmdir(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("socket_path");
    TCase *tests = tcase_create("socket_path");

    tcase_add_test(tests, given);
    tcase_add_test(tests, by_default);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
