/* What a look says about clocks that run, are set, sleep and stand still. */
#include "daemon/system/clock_watch.h"

#include "tests/unit/run_suite.h"

enum { SECOND = 1000 * 1000 };

static struct clock_watch watch;
static struct clock_times now;

static void begin(void)
{
    watch = (struct clock_watch){0};
    now = (struct clock_times){100 * SECOND, 200 * SECOND, UINT64_C(1700000000) * SECOND};
    clock_watch_look(&watch, &now);
}

/* After so much more time on each clock. */
static struct clock_change look(int64_t mono_usec, int64_t boot_usec, int64_t real_usec)
{
    now.mono_usec += (uint64_t)mono_usec;
    now.boot_usec += (uint64_t)boot_usec;
    now.real_usec += (uint64_t)real_usec;
    return clock_watch_look(&watch, &now);
}

static void assert_change(struct clock_change found, int64_t set_usec, uint64_t slept_usec,
                          uint64_t stood_usec)
{
    ck_assert_int_eq(found.set_usec, set_usec);
    ck_assert_uint_eq(found.slept_usec, slept_usec);
    ck_assert_uint_eq(found.stood_usec, stood_usec);
}

START_TEST(test_first)
{
    struct clock_watch first = {0};
    struct clock_times times = clock_times_now();
    assert_change(clock_watch_look(&first, &times), 0, 0, 0);
    ck_assert_uint_ge(times.boot_usec, times.mono_usec);
    times = clock_times_now();
    assert_change(clock_watch_look(&first, &times), 0, 0, 0);
}
END_TEST

START_TEST(test_running)
{
    begin();
    assert_change(look(SECOND, SECOND, SECOND), 0, 0, 0);
    assert_change(look(3 * SECOND, 3 * SECOND, 3 * SECOND), 0, 0, 0); /* late */
    assert_change(look(SECOND, SECOND, 2 * SECOND), 0, 0, 0);         /* slewed */
}
END_TEST

START_TEST(test_set)
{
    begin();
    assert_change(look(SECOND, SECOND, 3601 * (int64_t)SECOND), 3600 * (int64_t)SECOND, 0, 0);
    assert_change(look(SECOND, SECOND, SECOND), 0, 0, 0);
    assert_change(look(SECOND, SECOND, -UINT64_C(86399) * SECOND), -86400 * (int64_t)SECOND, 0, 0);
    assert_change(look(SECOND, SECOND, SECOND), 0, 0, 0);
}
END_TEST

START_TEST(test_asleep)
{
    begin();
    assert_change(look(SECOND, 61 * SECOND, 61 * SECOND), 0, 60 * SECOND, 0);
    assert_change(look(SECOND, SECOND, SECOND), 0, 0, 0);
}
END_TEST

START_TEST(test_stopped)
{
    begin();
    assert_change(look(61 * SECOND, 61 * SECOND, 61 * SECOND), 0, 0, 60 * SECOND);
    /* And asleep, and set meanwhile. */
    assert_change(look(11 * SECOND, 41 * SECOND, 61 * SECOND), 20 * SECOND, 30 * SECOND,
                  10 * SECOND);
    assert_change(look(SECOND, SECOND, SECOND), 0, 0, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock_watch");
    TCase *tcase = tcase_create("clock_watch");
    tcase_add_test(tcase, test_first);
    tcase_add_test(tcase, test_running);
    tcase_add_test(tcase, test_set);
    tcase_add_test(tcase, test_asleep);
    tcase_add_test(tcase, test_stopped);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
