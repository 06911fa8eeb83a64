/* Lists of units on the command line. */
#include "client/emctl/unit_list.h"

#include "tests/unit/run_suite.h"

#include <check.h>
#include <string.h>

START_TEST(good)
{
    static const struct {
        const char *text;
        size_t n;
        uint32_t last;
    } lists[] = {
        {"0", 1, 0}, {"1,5", 2, 5}, {"5,1,0", 3, 0}, {"4294967295", 1, UINT32_MAX}, {"007", 1, 7}};
    uint32_t units[EDGEMIND_UNITS_MAX];

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        ck_assert_uint_eq(unit_list_parse(lists[i].text, units), lists[i].n);
        ck_assert_uint_eq(units[lists[i].n - 1], lists[i].last);
        json_t *array = unit_list_json(lists[i].text);
        ck_assert_uint_eq(json_array_size(array), lists[i].n);
        ck_assert_uint_eq(json_integer_value(json_array_get(array, lists[i].n - 1)), lists[i].last);
        json_decref(array);
    }
    ck_assert_ptr_null(unit_list_json(NULL));
}
END_TEST

START_TEST(bad)
{
    static const char *const lists[] = {
        "",    ",",     "1,",         "1,,2", ",1",
        "-1",  "+1",    " 1",         "1 ",   "1;2",
        "1,1", "1,2,1", "4294967296", "x",    "99999999999999999999"};
    uint32_t units[EDGEMIND_UNITS_MAX];

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        ck_assert_msg(unit_list_parse(lists[i], units) == 0, "%s", lists[i]);
}
END_TEST

/* As many as a lease may have, and one more. */
START_TEST(most)
{
    char text[EDGEMIND_UNITS_MAX * 5] = "";
    uint32_t units[EDGEMIND_UNITS_MAX];
    size_t n = 0;

    for (unsigned i = 0; i < EDGEMIND_UNITS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%u", i > 0 ? "," : "", i);
    ck_assert_uint_eq(unit_list_parse(text, units), EDGEMIND_UNITS_MAX);
    strcat(text, ",513");
    ck_assert_uint_eq(unit_list_parse(text, units), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit_list");
    TCase *tcase = tcase_create("unit_list");
    tcase_add_test(tcase, good);
    tcase_add_test(tcase, bad);
    tcase_add_test(tcase, most);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
