/* Which units are mapped ahead and which are released, on a view without mappings. */
#include "client/view/stream.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { N = 10 };

static struct view view;
static uint64_t bytes[N];

static void setup(void)
{
    view = (struct view){.table = {.n_units = N, .bytes = bytes}, .largest_bytes = 10};
    view.units = calloc(N, sizeof *view.units);
    ck_assert_int_eq(order_init(&view.order, N), 0);
    for (int i = 0; i < N; i++)
        bytes[i] = 10;
    for (int i = 0; i < VIEW_LAG_MAX; i++)
        view.streamed.last[i] = ORDER_NONE;
}

static void teardown(void)
{
    order_done(&view.order);
    free(view.units);
}

static void map(uint32_t unit, enum unit_state state)
{
    atomic_store(&view.units[unit].state, state);
    if (!view.units[unit].is_kept)
        stream_add(&view, unit);
}

/* A thread comes to the unit; checks which units are then mapped ahead, and which are released. */
static void enter(uint32_t unit, const char *ahead, const char *released)
{
    uint32_t units[VIEW_STREAMED_MAX], needless;

    map(unit, UNIT_MAPPED);
    stream_enter(&view, unit);
    unsigned n = stream_choose_ahead(&view, units);
    for (; stream_find_needless(&view, units, n, &needless); released++) {
        ck_assert_int_eq(needless, *released - '0');
        atomic_store(&view.units[needless].state, UNIT_HOLE);
        stream_remove(&view, needless);
        view.units[needless].is_entered = false;
    }
    ck_assert_str_eq(released, "");
    ck_assert_uint_eq(strlen(ahead), n);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_int_eq(units[i], ahead[i] - '0');
        map(units[i], UNIT_ARMED);
    }
}

START_TEST(in_order)
{
    enter(0, "1", "");
    enter(1, "2", "0");
    enter(2, "3", "1");
    view.units[4].is_kept = true;
    map(4, UNIT_MAPPED);
    enter(3, "5", "2");
}
END_TEST

START_TEST(by_bytes)
{
    bytes[1] = bytes[2] = bytes[3] = 5;
    enter(0, "12", "");
    enter(1, "23", "0");
    enter(2, "3", "1");
    bytes[5] = bytes[6] = 5;
    enter(3, "4", "2");
    enter(4, "56", "3");
}
END_TEST

/* What was mapped ahead in vain is released. */
START_TEST(another_order)
{
    enter(0, "1", "");
    enter(7, "", "1");
    enter(4, "", "");
    enter(2, "", "0");
    enter(9, "", "7");
}
END_TEST

/* A thread has come to the kept unit after the last streamed one, which is released then. */
START_TEST(passed)
{
    uint32_t units[VIEW_STREAMED_MAX], needless;

    view.units[2].is_kept = true;
    map(2, UNIT_MAPPED);
    enter(0, "1", "");
    ck_assert_int_eq(stream_choose_next_kept(&view), ORDER_NONE); /* unit 1 is streamed */
    ck_assert_int_eq(stream_choose_next(&view, 1), 3);
    enter(1, "3", "0");
    ck_assert_int_eq(stream_choose_next_kept(&view), 2);
    ck_assert_int_eq(stream_choose_next(&view, 1), ORDER_NONE); /* it is mapped */
    view.streamed.is_passed = true;
    unsigned n = stream_choose_ahead(&view, units);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(units[1], 4);
    ck_assert(stream_find_needless(&view, units, n, &needless));
    ck_assert_int_eq(needless, 1);
    atomic_store(&view.units[1].state, UNIT_HOLE);
    stream_remove(&view, 1);
    ck_assert(!stream_find_needless(&view, units, n, &needless));

    /* It was too early. */
    enter(1, "3", "");
    ck_assert(!view.streamed.is_passed);
    view.streamed.is_passed = true;
    ck_assert(!stream_find_needless(&view, units, n, &needless));
}
END_TEST

/* Threads that are one unit apart. */
START_TEST(apart)
{
    enter(0, "1", "");
    enter(1, "2", "0");
    enter(0, "", "2");
    for (uint32_t i = 0; i < N; i++)
        if (atomic_load(&view.units[i].state) != UNIT_HOLE) {
            atomic_store(&view.units[i].state, UNIT_HOLE);
            stream_remove(&view, i);
            view.units[i].is_entered = false;
        }
    view.order.at = ORDER_NONE;
    view.order.trust = 2;
    enter(4, "5", "");
    enter(5, "6", "");
    enter(6, "7", "4");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream");
    TCase *tests = tcase_create("stream");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, in_order);
    tcase_add_test(tests, by_bytes);
    tcase_add_test(tests, another_order);
    tcase_add_test(tests, passed);
    tcase_add_test(tests, apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
