/* The socket's path, and whom it replaces: nobody who listens, and no other file. */
#include "daemon/control/listen_socket.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

#include <sys/socket.h>
#include <sys/un.h>

START_TEST(test_default_path)
{
    static const struct {
        const char *runtime, *path;
    } users[] = {
        {"/run/user/7", "/run/user/7/edgemind/io.edgemind.manager"}, {"run", NULL}, {NULL, NULL}};

    for (size_t i = 0; i < sizeof users / sizeof users[0]; i++) {
        if (users[i].runtime)
            setenv("XDG_RUNTIME_DIR", users[i].runtime, 1);
        else
            unsetenv("XDG_RUNTIME_DIR");
        const char *expected = geteuid() == 0 ? "/run/edgemind/io.edgemind.manager" : users[i].path;
        char *path = listen_socket_default_path();
        ck_assert_pstr_eq(path, expected);
        free(path);
    }
}
END_TEST

START_TEST(test_replaces_what_is_stale)
{
    const char *path = in_scratch("directory/socket"); /* whose directory it makes */
    struct stat status;

    for (int i = 0; i < 2; i++) {
        int fd = listen_socket_open(path, getgid());
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(lstat(path, &status), 0);
        ck_assert(S_ISSOCK(status.st_mode));
        ck_assert_uint_eq(status.st_mode & 0777, 0660);
        ck_assert_uint_eq(listen_socket_group(fd), getgid());
        ck_assert_int_eq(listen_socket_open(path, getgid()), -EADDRINUSE);
        close(fd);
    }
}
END_TEST

START_TEST(test_replaces_nothing_else)
{
    char path[sizeof((struct sockaddr_un){0}.sun_path) + 1];

    put("file", "x");
    ck_assert_int_eq(listen_socket_open(in_scratch("file"), (gid_t)-1), -EADDRINUSE);
    ck_assert_int_eq(listen_socket_open(in_scratch("file/socket"), (gid_t)-1), -ENOTDIR);
    ck_assert_int_eq(listen_socket_open(in_scratch("no/such/socket"), (gid_t)-1), -ENOENT);
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    ck_assert_int_eq(listen_socket_open(path, (gid_t)-1), -ENAMETOOLONG);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listen_socket");
    TCase *tcase = tcase_create("listen_socket");
    tcase_add_unchecked_fixture(tcase, make_scratch, remove_scratch);
    tcase_add_checked_fixture(tcase, clear_scratch, NULL);
    tcase_add_test(tcase, test_default_path);
    tcase_add_test(tcase, test_replaces_what_is_stale);
    tcase_add_test(tcase, test_replaces_nothing_else);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
