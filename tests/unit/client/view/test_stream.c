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
    enter(0, "12", "");
    enter(1, "23", "0");
    enter(2, "34", "1");
    view.units[5].is_kept = true;
    map(5, UNIT_MAPPED);
    enter(3, "46", "2");
}
END_TEST

START_TEST(by_bytes)
{
    bytes[1] = bytes[2] = bytes[3] = 5;
    enter(0, "123", "");
    enter(1, "234", "0");
    bytes[5] = 5;
    enter(2, "345", "1");
}
END_TEST

/* What was mapped ahead in vain is released. */
START_TEST(another_order)
{
    enter(0, "12", "");
    enter(7, "", "12");
    enter(4, "", "");
    enter(2, "", "0");
    enter(9, "", "7");
}
END_TEST

/* Threads that are one unit apart. */
START_TEST(apart)
{
    enter(0, "12", "");
    enter(1, "23", "0");
    enter(0, "", "23");
    for (uint32_t i = 0; i < N; i++)
        if (atomic_load(&view.units[i].state) != UNIT_HOLE) {
            atomic_store(&view.units[i].state, UNIT_HOLE);
            stream_remove(&view, i);
            view.units[i].is_entered = false;
        }
    view.order.at = ORDER_NONE;
    view.order.trust = 2;
    enter(4, "56", "");
    enter(5, "67", "");
    enter(6, "78", "4");
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
    tcase_add_test(tests, apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
