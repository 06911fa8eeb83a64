/* Units that are layers: their names, and how many of them a layer has. */
#include "common/definition/definition_units.h"

#include "common/definition/definition_parse.h"
#include "tests/unit/run_suite.h"

static uint32_t count(const char *names, const char *layer)
{
    char text[1024] = "{\"name\": \"m\", \"layers\": [", copy[256], *rest = copy;
    struct definition *definition;
    struct definition_problem problem;
    size_t n = strlen(text);

    snprintf(copy, sizeof copy, "%s", names);
    for (const char *name; (name = strsep(&rest, " "));)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"name\": \"%s\", \"bytes\": 1}%s", name,
                              rest ? "," : "]}");
    ck_assert_int_eq(definition_parse(text, n, &definition, &problem), 0);
    uint32_t n_units = definition_count_units(definition, layer);
    definition_unref(definition);
    return n_units;
}

START_TEST(test_count)
{
    static const char names[] =
        "a blk.1:u2 blk.1:u0 blk.1 blk.10:u7 blk.1:u11 blk.1:1 blk.1:2 blk.1:v blk.1:uu z:u0 :u3";

    ck_assert_uint_eq(count(names, "blk.1"), 4); /* also the one that is called :uu */
    ck_assert_uint_eq(count(names, "blk.10"), 1);
    ck_assert_uint_eq(count(names, "z"), 1);
    ck_assert_uint_eq(count(names, ""), 1);
    for (const char *const *none = (const char *const[]){"a", "blk", "blk.", "blk.1:u", "blk.1:u2",
                                                         "b", "zz", "\x01", "\xff", NULL};
         *none; none++)
        ck_assert_uint_eq(count(names, *none), 0);
}
END_TEST

START_TEST(test_names)
{
    char name[DEFINITION_NAME_MAX + 1], layer[DEFINITION_NAME_MAX + 1] = {0};

    ck_assert(definition_unit_name("blk.0", 5, name));
    ck_assert_str_eq(name, "blk.0:u5");
    ck_assert(definition_unit_name("", UINT64_MAX, name));
    ck_assert_str_eq(name, ":u18446744073709551615");
    memset(layer, 'x', DEFINITION_NAME_MAX - 3);
    ck_assert(definition_unit_name(layer, 9, name));
    ck_assert_uint_eq(strlen(name), DEFINITION_NAME_MAX);
    ck_assert(!definition_unit_name(layer, 10, name));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("definition_units");
    TCase *tcase = tcase_create("definition_units");
    tcase_add_test(tcase, test_count);
    tcase_add_test(tcase, test_names);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
