/* Which bytes of a view belong to which unit. */
#include "client/view/unit_table.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>

enum { PAGE = 4096 };

static struct unit_table table;

static void check_piece(uint32_t index, uint64_t begin_bytes, uint64_t end_bytes, uint32_t unit)
{
    ck_assert_uint_lt(index, table.n_pieces);
    ck_assert_uint_eq(table.pieces[index].begin_bytes, begin_bytes);
    ck_assert_uint_eq(table.pieces[index].end_bytes, end_bytes);
    ck_assert_uint_eq(table.pieces[index].unit, unit);
}

START_TEST(whole_pages)
{
    unit_table_init(&table, PAGE, 0, 100 * PAGE);
    ck_assert_int_eq(unit_table_add(&table, "b", 0, 10 * PAGE + 1, 5 * PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "b", 0, 40 * PAGE, 2 * PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "none", 0, 17 * PAGE + 5, PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "a", 0, 2 * PAGE - 1, PAGE + 1), 0);
    ck_assert_int_eq(unit_table_seal(&table), 0);
    ck_assert_uint_eq(table.n_units, 2);
    ck_assert_uint_eq(table.n_pieces, 3);
    check_piece(0, 2 * PAGE, 3 * PAGE, 1);
    check_piece(1, 11 * PAGE, 15 * PAGE, 0);
    check_piece(2, 40 * PAGE, 42 * PAGE, 0);
    ck_assert_uint_eq(table.covered_bytes, 7 * PAGE);
    ck_assert_str_eq(table.names[0], "b");
    ck_assert_int_eq(unit_table_find(&table, 11 * PAGE - 1), UNIT_NONE);
    ck_assert_int_eq(unit_table_find(&table, 11 * PAGE), 0);
    ck_assert_int_eq(unit_table_find(&table, 15 * PAGE - 1), 0);
    ck_assert_int_eq(unit_table_find(&table, 15 * PAGE), UNIT_NONE);
    ck_assert_int_eq(unit_table_find(&table, 42 * PAGE), UNIT_NONE);
    unit_table_done(&table);
}
END_TEST

/* Of a part of the file. */
START_TEST(clipped)
{
    unit_table_init(&table, PAGE, 10 * PAGE, 10 * PAGE + 7);
    ck_assert_int_eq(unit_table_add(&table, "before", 0, 0, 10 * PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "first", 0, 5 * PAGE, 7 * PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "last", 0, 18 * PAGE, 9 * PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "behind", 0, 30 * PAGE, PAGE), 0);
    ck_assert_int_eq(unit_table_seal(&table), 0);
    ck_assert_uint_eq(table.n_pieces, 2);
    check_piece(0, 0, 2 * PAGE, 0);
    check_piece(1, 8 * PAGE, 10 * PAGE, 1);
    unit_table_done(&table);
}
END_TEST

/* Replies that a wrong daemon might send. */
START_TEST(refused)
{
    unit_table_init(&table, PAGE, 0, 100 * PAGE);
    ck_assert_int_eq(unit_table_add(&table, "a", 0, 0, 0), -EBADMSG);
    ck_assert_int_eq(unit_table_add(&table, "a", 0, UINT64_MAX, 2), -EBADMSG);
    ck_assert_int_eq(unit_table_add(&table, "a", 0, (uint64_t)INT64_MAX, 1), -EBADMSG);
    ck_assert_int_eq(unit_table_add(&table, "a", 0, 0, 4 * PAGE), 0);
    ck_assert_int_eq(unit_table_add(&table, "b", 0, 3 * PAGE, 4 * PAGE), 0);
    ck_assert_int_eq(unit_table_seal(&table), -EBADMSG);
    unit_table_done(&table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit_table");
    TCase *tcase = tcase_create("unit_table");
    tcase_add_test(tcase, whole_pages);
    tcase_add_test(tcase, clipped);
    tcase_add_test(tcase, refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
