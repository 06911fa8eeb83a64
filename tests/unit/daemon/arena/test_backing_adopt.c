/* The file of a former process is adopted with its bytes, or refused. */
#include "daemon/arena/backing.h"
#include "tests/unit/backing_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

START_TEST(adopted_bytes_are_intact)
{
    size_t n_open = count_open();
    make(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    write_pattern(20 * MIB);
    ino_t inode = file_of().st_ino;
    int fd = leave();
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    uint64_t shmem = status_value("RssShmem:");

    adopt(20 * MIB + 123, HUGE_PAGES_NEVER, COMMIT_BOOT, fd);
    ck_assert_int_eq(backing_fd(backing), fd);
    ck_assert_uint_eq(file_of().st_ino, inode);
    ck_assert(has_pattern(0, 20 * MIB));
    /* All of it is mapped, and no pages were added. */
    expect_near(status_value("RssShmem:") - shmem, 20 * MIB, lag_bytes());
    ck_assert_uint_eq(file_bytes(), 20 * MIB);
    ck_assert_uint_eq(backing_capacity_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_mark_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(backing), 20 * MIB);
    ck_assert_uint_eq(backing_pending_bytes(backing), 0);
    ck_assert_str_eq(backing_name(backing), "plain-pages");

    /* Clients can only read it again, and this process can write it. */
    ck_assert_uint_eq(file_of().st_mode & 07777, 0400);
    ck_assert_int_eq(fcntl(backing_fd(backing), F_GETFD), FD_CLOEXEC);
    int client = backing_open_for_client(backing), other = backing_open_for_client(backing);
    ck_assert_int_eq(fcntl(client, F_GETFL) & O_ACCMODE, O_RDONLY);
    unsigned char byte = 0;
    backing_base(backing)[MIB + 1] = 99;
    ck_assert_int_eq(pread(client, &byte, 1, MIB + 1), 1);
    ck_assert_uint_eq(byte, 99);
    /* Changes of one client's descriptor do not affect another's. */
    ck_assert_int_eq(fcntl(client, F_SETFL, O_NONBLOCK | O_APPEND), 0);
    ck_assert_int_eq(lseek(client, 7, SEEK_SET), 7);
    ck_assert_int_eq(flock(client, LOCK_EX), 0);
    ck_assert_int_eq(fcntl(other, F_GETFL) & (O_NONBLOCK | O_APPEND), 0);
    ck_assert_int_eq(lseek(other, 0, SEEK_CUR), 0);
    ck_assert_int_eq(fcntl(backing_fd(backing), F_GETFL) & (O_NONBLOCK | O_APPEND), 0);
    ck_assert_int_eq(lseek(backing_fd(backing), 0, SEEK_CUR), 0);
    close(client);
    close(other);
    backing = backing_free(backing);
    ck_assert_uint_eq(count_open(), n_open);
}
END_TEST

START_TEST(a_hole_in_what_is_adopted_is_committed)
{
    make(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    write_pattern(20 * MIB);
    int fd = leave();
    ck_assert_int_eq(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 << 20, (off_t)(MIB + page)), 0);
    adopt(20 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, fd);
    ck_assert_uint_eq(file_bytes(), 20 * MIB);
    ck_assert(has_pattern(0, 9 * MIB));
    ck_assert(has_pattern(10 * MIB + page, 20 * MIB));
    for (uint64_t i = 9 * MIB; i < 10 * MIB + page; i += 509)
        ck_assert_uint_eq(backing_base(backing)[i], 0);
}
END_TEST

START_TEST(only_what_fits_is_adopted)
{
    make(4 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    write_pattern(4 * MIB);
    int fd = leave();
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
    char why[BACKING_WHY_MAX] = "";
    const struct backing_config config = {MIB, HUGE_PAGES_NEVER, COMMIT_BOOT, false};
    ck_assert_int_lt(backing_adopt(&config, ends[0], &backing, why), 0);
    ck_assert(!backing && *why);
    ck_assert_int_lt(fcntl(ends[0], F_GETFD), 0);
    close(ends[1]);
}
END_TEST

/* commit = load: the file ends at the arena's high-water mark. */
START_TEST(adopted_as_far_as_layers_arrived)
{
    static const uint64_t marks[] = {0, 1, 300, 1024};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        uint64_t mark = marks[i] * page, new_bytes = 0, half = mark / page / 2 * page;
        make(1024 * page, HUGE_PAGES_NEVER, COMMIT_LOAD);
        if (mark > 0)
            grow_and_commit(mark);
        write_pattern(mark);
        int fd = leave();
        /* The last load was in progress: some of its pages are missing. */
        if (half > 0)
            ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)half,
                                       (off_t)(mark - half)),
                             0);
        adopt(1024 * page, HUGE_PAGES_NEVER, COMMIT_LOAD, fd);
        ck_assert_uint_eq(backing_mark_bytes(backing), mark);
        ck_assert_uint_eq(backing_committed_bytes(backing), mark);
        ck_assert_uint_eq(backing_pending_bytes(backing), 0);
        ck_assert_uint_eq(file_bytes(), mark);
        ck_assert_int_eq(file_of().st_size, (off_t)mark);
        ck_assert(has_pattern(0, half > 0 ? half : mark));
        ck_assert_int_eq(backing_commit(backing), COMMIT_LOAD);

        ck_assert_int_eq(backing_grow(backing, mark, &new_bytes), 0);
        ck_assert_uint_eq(new_bytes, 0);
        if (mark < 1024 * page)
            grow_and_commit(mark + page);
        ck_assert_uint_eq(file_bytes(), mark < 1024 * page ? mark + page : mark);
        ck_assert_int_eq(backing_grow(backing, 1025 * page, &new_bytes), -EINVAL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backing_adopt");
    TCase *tcase = tcase_create("adopt");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, adopted_bytes_are_intact);
    tcase_add_test(tcase, a_hole_in_what_is_adopted_is_committed);
    tcase_add_test(tcase, only_what_fits_is_adopted);
    tcase_add_test(tcase, adopted_as_far_as_layers_arrived);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
