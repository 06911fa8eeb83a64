/* Loads of files that change or cannot be read. */
#include "daemon/weights/loader.h"
#include "tests/unit/loader_files_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>

static void expect_stale(struct layer *layer)
{
    ck_assert_int_eq(fill(layer), -ESTALE);
    release(layer);
}

START_TEST(a_file_that_changed)
{
    begin_with_files(io_modes[_i], 2);
    struct weight_file *file = &bench.files[0];
    struct piece piece = {100, 0, 3 * MIB, 0};

    add_file(file_bytes);
    struct layer *layer = define(11, &piece, 1);
    ck_assert_int_eq(fill(layer), 0);
    release(layer);

    int writer = reopen_for_writing(file);
    struct timespec times[] = {file->modified, file->modified};
    times[1].tv_nsec ^= 1;
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(layer);
    times[1] = file->modified;
    /* The file was written to, and its time restored. */
    ck_assert_int_eq(pwrite(writer, "other", 5, 200), 5);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(layer);
    ck_assert_int_eq(ftruncate(writer, (off_t)file_bytes + 1), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(layer);
    /* Even if the layer itself is before the new end. */
    ck_assert_int_eq(ftruncate(writer, (off_t)file_bytes - 1), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(layer);
    ck_assert_int_eq(ftruncate(writer, 0), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(layer);
    close(writer);
}
END_TEST

/* One thread does one step at a time: the first chunk of the fill comes between the second and the
 * third step of the hold, and `change` changes the file there, in the middle of the layer. */
static int change_in_the_middle(struct layer *layer, void (*change)(const struct weight_file *file))
{
    hold_begin(3);
    start(layer);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(loader_progress_bytes(layer), 0);
        hold_next_step();
    }
    ck_assert_uint_eq(loader_progress_bytes(layer), MIB);
    change(&bench.files[0]);
    hold_end();
    return await(layer);
}

static void truncate_it(const struct weight_file *file)
{
    int writer = reopen_for_writing(file);
    ck_assert_int_eq(ftruncate(writer, (off_t)MIB), 0);
    close(writer);
}

static void write_into_it(const struct weight_file *file)
{
    int writer = reopen_for_writing(file);
    ck_assert_int_eq(pwrite(writer, "changed", 7, (off_t)(2 * MIB)), 7);
    close(writer);
}

static void replace_it(const struct weight_file *file)
{
    ck_assert_int_eq(unlink(file->path), 0);
    int other = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(other, 0);
    close(other);
}

START_TEST(a_file_that_changes_meanwhile)
{
    static const struct {
        void (*change)(const struct weight_file *file);
        int result;
    } changes[] = {
        {truncate_it, -ESTALE},
        {write_into_it, -ESTALE},
        {replace_it, 0}, /* the open file has not changed */
    };
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        begin_with_files(io_modes[_i], 1);
        struct piece piece = {0, 0, 3 * MIB, 0};
        add_file(file_bytes);
        struct layer *layer = define(11, &piece, 1);
        ck_assert_int_eq(change_in_the_middle(layer, changes[i].change), changes[i].result);
    }
}
END_TEST

/* A read that fails ends the load with its errno, and the layer's other chunks are not read. */
START_TEST(a_read_that_fails)
{
    begin_with_files(IO_BUFFERED, 1);
    struct piece pieces[] = {{0, 0, 2 * MIB, 0}, {0, 0, 2 * MIB, 1}};

    add_file(file_bytes);
    add_file(file_bytes);
    struct layer *layer = define(11, pieces, 2);
    int readable = bench.files[0].fd;
    bench.files[0].fd = open(bench.files[0].path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(fill(layer), -EBADF);
    ck_assert_uint_eq(backing_base(bench.backing)[2 * MIB], GUARD);
    forget(layer);
    /* Once it can be read, so can the layer. */
    close(bench.files[0].fd);
    bench.files[0].fd = readable;
    ck_assert_int_eq(fill(layer), 0);
    check_bytes(layer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader_changes");
    TCase *tcase = tcase_create("loader_changes");
    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, a_file_that_changed, 0, N_IO_MODES);
    tcase_add_loop_test(tcase, a_file_that_changes_meanwhile, 0, N_IO_MODES);
    tcase_add_test(tcase, a_read_that_fails);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
