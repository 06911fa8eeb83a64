/* The order of use that a view learns. */
#include "client/view/order.h"
#include "tests/unit/run_suite.h"

#include <check.h>

static struct order order;
static bool skipped[8];

static bool skip(uint32_t unit, const void *context)
{
    (void)context;
    return skipped[unit];
}

static void enter(const char *units)
{
    for (; *units; units++)
        order_enter(&order, (uint32_t)(*units - '0'), skip, NULL);
}

static int64_t after(uint32_t unit)
{
    return order_after(&order, unit, skip, NULL);
}

static void setup(void)
{
    ck_assert_int_eq(order_init(&order, 8), 0);
    for (int i = 0; i < 8; i++)
        skipped[i] = false;
}

static void teardown(void)
{
    order_done(&order);
}

START_TEST(of_the_model)
{
    ck_assert(order_is_trusted(&order));
    ck_assert_int_eq(after(3), 4);
    ck_assert_int_eq(after(7), 0);
    skipped[4] = skipped[5] = true;
    ck_assert_int_eq(after(3), 6);
    for (int i = 0; i < 8; i++)
        skipped[i] = true;
    ck_assert_int_eq(after(3), ORDER_NONE);
}
END_TEST

START_TEST(learned)
{
    enter("3071");
    ck_assert(!order_is_trusted(&order));
    enter("30");
    ck_assert_int_eq(after(1), 3);
    ck_assert(!order_is_trusted(&order));
    enter("71");
    ck_assert(order_is_trusted(&order));
    ck_assert_int_eq(after(3), 0);
    ck_assert_int_eq(after(0), 7);
    enter("1111");
    ck_assert_int_eq(after(1), 3);
}
END_TEST

/* Units that are kept lead to the next one. */
START_TEST(past_kept_units)
{
    enter("01234567");
    skipped[1] = skipped[2] = true;
    ck_assert_int_eq(after(0), 3);
    enter("03");
    ck_assert(order_is_trusted(&order));
    skipped[1] = false; /* it is kept no longer */
    ck_assert_int_eq(after(0), 1);
}
END_TEST

/* A unit that stays from now on was foreseen nevertheless. */
START_TEST(kept_when_entered)
{
    enter("0");
    for (unsigned i = 1; i < 8; i++) {
        skipped[i] = true;
        order_enter(&order, i, skip, NULL);
        ck_assert(order_is_trusted(&order));
    }
    ck_assert_int_eq(after(7), 0);
}
END_TEST

START_TEST(no_order)
{
    enter("0527316402614735");
    ck_assert(!order_is_trusted(&order));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("order");
    TCase *tests = tcase_create("order");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, of_the_model);
    tcase_add_test(tests, learned);
    tcase_add_test(tests, past_kept_units);
    tcase_add_test(tests, kept_when_entered);
    tcase_add_test(tests, no_order);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
