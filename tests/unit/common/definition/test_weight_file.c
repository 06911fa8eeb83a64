/* Which descriptors a weight file may be, who closes them, and what counts as a change. */
#include "common/definition/weight_file.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];

static void set_up(void)
{
    strcpy(directory, "/tmp/em-weight-file-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
}

static void tear_down(void)
{
    static const char *const names[] = {"file", "other", "fifo"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(names[i]);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(describes_the_file)
{
    static const int flags[] = {O_RDONLY, O_RDWR, O_RDONLY | O_NONBLOCK | O_APPEND};
    struct stat status;

    write_file("file", "weights");
    ck_assert_int_eq(stat("file", &status), 0);
    for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct weight_file file;
        char path[] = "sub/model.safetensors";
        int fd = open_file("file", flags[i]);
        ck_assert_int_eq(weight_file_init(&file, fd, path), 0);
        memset(path, 'x', sizeof path - 1);
        ck_assert_str_eq(file.path, "sub/model.safetensors");
        ck_assert_int_eq(file.fd, fd);
        ck_assert_uint_eq(file.bytes, 7);
        ck_assert_int_eq(file.modified.tv_sec, status.st_mtim.tv_sec);
        ck_assert_int_eq(file.modified.tv_nsec, status.st_mtim.tv_nsec);
        ck_assert(!file.direct_refused);
        ck_assert(!weight_file_changed(&file));
        weight_file_done(&file);
        ck_assert(!is_open(fd));
    }
}
END_TEST

/* Refuses the descriptor and has closed it. */
static void refuse(int fd, int error)
{
    struct weight_file file;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(weight_file_init(&file, fd, "x"), error);
    ck_assert(!is_open(fd));
}

START_TEST(only_regular_files)
{
    int sockets[2], pipes[2];

    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    ck_assert_int_eq(pipe(pipes), 0);
    refuse(open_file("fifo", O_RDONLY | O_NONBLOCK), -EINVAL);
    refuse(open_file("fifo", O_PATH), -EINVAL);
    refuse(open_file(".", O_RDONLY | O_DIRECTORY), -EINVAL);
    refuse(open_file("/dev/zero", O_RDONLY), -EINVAL);
    refuse(sockets[0], -EINVAL);
    refuse(sockets[1], -EINVAL);
    refuse(pipes[0], -EINVAL);
    refuse(pipes[1], -EINVAL);
}
END_TEST

START_TEST(only_readable_descriptors)
{
    struct weight_file file;

    write_file("file", "weights");
    refuse(open_file("file", O_WRONLY), -EBADF);
    refuse(open_file("file", O_WRONLY | O_APPEND), -EBADF);
    refuse(open_file("file", O_PATH), -EBADF);
    ck_assert_int_eq(weight_file_init(&file, -1, "x"), -EBADF);
}
END_TEST

START_TEST(what_counts_as_a_change)
{
    struct weight_file file;
    char byte;

    write_file("file", "weights");
    ck_assert_int_eq(weight_file_init(&file, open_file("file", O_RDONLY), "file"), 0);
    int writer = open_file("file", O_RDWR);
    struct timespec times[2] = {file.modified, file.modified};

    /* Reading, a new mode and another name leave the bytes as they are. */
    ck_assert_int_eq(pread(file.fd, &byte, 1, 0), 1);
    ck_assert_int_eq(fchmod(writer, 0400), 0);
    ck_assert_int_eq(rename("file", "other"), 0);
    write_file("file", "another file under the old name");
    ck_assert(!weight_file_changed(&file));
    ck_assert_int_eq(unlink("other"), 0);
    ck_assert(!weight_file_changed(&file));

    times[1].tv_nsec = (times[1].tv_nsec + 1) % 1000000000;
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(weight_file_changed(&file));
    times[1] = file.modified;
    times[1].tv_sec++;
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(weight_file_changed(&file));
    times[1] = file.modified;
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(!weight_file_changed(&file));

    /* Another size, even with the old time. */
    ck_assert_int_eq(ftruncate(writer, 8), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(weight_file_changed(&file));
    ck_assert_int_eq(ftruncate(writer, 6), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(weight_file_changed(&file));
    ck_assert_int_eq(ftruncate(writer, 7), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(!weight_file_changed(&file));
    close(writer);
    weight_file_done(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weight_file");
    TCase *tcase = tcase_create("weight_file");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, describes_the_file);
    tcase_add_test(tcase, only_regular_files);
    tcase_add_test(tcase, only_readable_descriptors);
    tcase_add_test(tcase, what_counts_as_a_change);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
