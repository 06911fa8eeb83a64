/* The valid descriptors of weight files, who closes them, and what counts as a change. */
#include "common/definition/weight_file.h"
#include "tests/unit/run_suite.h"

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

/* The descriptor is refused and closed. */
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

static struct weight_file weights;
static int writer;

static void begin(void)
{
    write_file("file", "weights");
    ck_assert_int_eq(weight_file_init(&weights, open_file("file", O_RDONLY), "file"), 0);
    writer = open_file("file", O_RDWR);
    ck_assert(!weight_file_changed(&weights));
    /* The kernel's clock for files moves in steps of up to 10 ms. Waits so that later changes have
     * a later time. */
    usleep(20000);
}

static void end(void)
{
    close(writer);
    weight_file_done(&weights);
}

static void put_time_back(void)
{
    const struct timespec times[2] = {weights.modified, weights.modified};
    ck_assert_int_eq(futimens(writer, times), 0);
}

START_TEST(reading_is_no_change)
{
    char byte;
    begin();
    ck_assert_int_eq(pread(weights.fd, &byte, 1, 0), 1);
    ck_assert(!weight_file_changed(&weights));
    ck_assert(!weight_file_deleted(&weights));
    end();
}
END_TEST

START_TEST(another_modification_time)
{
    begin();
    struct timespec times[2] = {weights.modified, weights.modified};
    times[1].tv_nsec = (times[1].tv_nsec + 1) % 1000000000;
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(weight_file_changed(&weights));
    times[1] = weights.modified;
    times[1].tv_sec++;
    ck_assert_int_eq(futimens(writer, times), 0);
    ck_assert(weight_file_changed(&weights));
    end();
}
END_TEST

START_TEST(another_size)
{
    begin();
    ck_assert_int_eq(ftruncate(writer, 8), 0);
    put_time_back();
    ck_assert(weight_file_changed(&weights));
    ck_assert_int_eq(ftruncate(writer, 6), 0);
    put_time_back();
    ck_assert(weight_file_changed(&weights));
    end();
}
END_TEST

/* As rsync --inplace -t leaves it. */
START_TEST(other_bytes_of_the_same_size_and_time)
{
    begin();
    ck_assert_int_eq(pwrite(writer, "WEIGHTS", 7, 0), 7);
    put_time_back();
    struct stat status;
    ck_assert_int_eq(fstat(writer, &status), 0);
    ck_assert_int_eq(status.st_size, 7);
    ck_assert_int_eq(status.st_mtim.tv_nsec, weights.modified.tv_nsec);
    ck_assert(weight_file_changed(&weights));
    end();
}
END_TEST

/* The file could have been written to, and its time restored. */
START_TEST(a_new_mode)
{
    begin();
    ck_assert_int_eq(fchmod(writer, 0400), 0);
    ck_assert(weight_file_changed(&weights));
    end();
}
END_TEST

START_TEST(deleted)
{
    begin();
    ck_assert_int_eq(unlink("file"), 0);
    ck_assert(!weight_file_changed(&weights));
    ck_assert(weight_file_deleted(&weights));
    ck_assert_int_eq(pwrite(writer, "W", 1, 0), 1);
    ck_assert(weight_file_changed(&weights));
    end();
}
END_TEST

START_TEST(replaced_by_rename)
{
    begin();
    write_file("other", "another file under the old name");
    ck_assert_int_eq(rename("other", "file"), 0);
    ck_assert(!weight_file_changed(&weights));
    ck_assert(weight_file_deleted(&weights));
    end();
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
    tcase_add_test(tcase, reading_is_no_change);
    tcase_add_test(tcase, another_modification_time);
    tcase_add_test(tcase, another_size);
    tcase_add_test(tcase, other_bytes_of_the_same_size_and_time);
    tcase_add_test(tcase, a_new_mode);
    tcase_add_test(tcase, deleted);
    tcase_add_test(tcase, replaced_by_rename);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
