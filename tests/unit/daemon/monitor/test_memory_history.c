/* The ring of the last hour: what it keeps, and what it never shows. */
#include "daemon/monitor/memory_history.h"
#include "tests/unit/run_suite.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP ((uint64_t)MEMORY_HISTORY_STEP_USEC)

static struct memory_history history;
static struct memory_point points[MEMORY_HISTORY_POINTS];

static void note(uint64_t at_usec, uint64_t rss_bytes, uint64_t arena_bytes)
{
    memory_history_note(&history, &(struct memory_point){at_usec, rss_bytes, arena_bytes});
}

START_TEST(test_largest_of_a_step)
{
    ck_assert_uint_eq(memory_history_list(&history, 1000 * STEP, points), 0);
    note(1000 * STEP + 3, 5, 7);
    note(1000 * STEP + 4, 9, 6);
    note(1000 * STEP + 5, 1, 1);
    note(1001 * STEP, 2, 2);
    ck_assert_uint_eq(memory_history_list(&history, 1001 * STEP, points), 2);
    ck_assert_uint_eq(points[0].at_usec, 1000 * STEP + 3);
    ck_assert_uint_eq(points[0].rss_bytes, 9);
    ck_assert_uint_eq(points[0].arena_bytes, 7);
    ck_assert_uint_eq(points[1].rss_bytes, 2);
}
END_TEST

START_TEST(test_an_hour)
{
    for (uint64_t step = 1000; step < 2000; step++)
        note(step * STEP, step, step);
    ck_assert_uint_eq(memory_history_list(&history, 1999 * STEP, points), MEMORY_HISTORY_POINTS);
    for (uint64_t i = 0; i < MEMORY_HISTORY_POINTS; i++)
        ck_assert_uint_eq(points[i].rss_bytes, 2000 - MEMORY_HISTORY_POINTS + i);
    /* Half an hour without samples, as while the machine slept: these steps are missing. */
    note(2180 * STEP, 1, 1);
    ck_assert_uint_eq(memory_history_list(&history, 2180 * STEP, points),
                      MEMORY_HISTORY_POINTS / 2);
    ck_assert_uint_eq(points[0].at_usec, 1821 * STEP);
    ck_assert_uint_eq(memory_history_list(&history, 9000 * STEP, points), 0);
}
END_TEST

/* Whatever is in the ring: a clock that was set back, or a ring from elsewhere. */
START_TEST(test_wrong_times)
{
    note(5000 * STEP, 1, 1);
    ck_assert_uint_eq(memory_history_list(&history, 4999 * STEP, points), 0); /* not yet */
    memset(&history, 0xa5, sizeof history);
    ck_assert_uint_eq(memory_history_list(&history, 5000 * STEP, points), 0);
    memset(&history, 0, sizeof history);
    note(3 * STEP, 1, 1); /* soon after 1970 */
    ck_assert_uint_eq(memory_history_list(&history, 5 * STEP, points), 1);
}
END_TEST

static int memory_file(void)
{
    int fd = memfd_create("history", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(test_kept)
{
    int fd = memory_file();
    note(999 * STEP, 4, 4); /* before the file is known */
    memory_history_keep(&history, fd);
    note(1000 * STEP, 5, 7);
    note(1000 * STEP + 1, 9, 6);

    static struct memory_history next;
    memory_history_keep(&next, fd);
    ck_assert_uint_eq(memory_history_list(&next, 1000 * STEP, points), 2);
    ck_assert_uint_eq(points[0].rss_bytes, 4);
    ck_assert_uint_eq(points[1].rss_bytes, 9);
    ck_assert_uint_eq(points[1].arena_bytes, 7);
    close(fd);
}
END_TEST

/* A file of another version, or one that was cut, counts as empty and is written anew. */
START_TEST(test_another_file)
{
    for (int i = 0; i < 2; i++) {
        int fd = memory_file();
        memory_history_keep(&history, fd);
        note(1000 * STEP, 5, 7);
        if (i == 0)
            ck_assert_int_eq(pwrite(fd, "Other", 5, 0), 5);
        else
            ck_assert_int_eq(ftruncate(fd, 100), 0);
        static struct memory_history next;
        next = (struct memory_history){0};
        memory_history_keep(&next, fd);
        ck_assert_uint_eq(memory_history_list(&next, 1000 * STEP, points), 0);
        memory_history_note(&next, &(struct memory_point){1001 * STEP, 1, 1});
        static struct memory_history third;
        third = (struct memory_history){0};
        memory_history_keep(&third, fd);
        ck_assert_uint_eq(memory_history_list(&third, 1001 * STEP, points), 1);
        close(fd);
    }
}
END_TEST

static void begin(void)
{
    history = (struct memory_history){0};
}

int main(void)
{
    Suite *suite = suite_create("memory_history");
    TCase *tcase = tcase_create("memory_history");
    tcase_add_checked_fixture(tcase, begin, NULL);
    tcase_add_test(tcase, test_largest_of_a_step);
    tcase_add_test(tcase, test_an_hour);
    tcase_add_test(tcase, test_wrong_times);
    tcase_add_test(tcase, test_kept);
    tcase_add_test(tcase, test_another_file);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
