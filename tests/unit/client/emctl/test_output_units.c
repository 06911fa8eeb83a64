/* The table of units. */
#include "client/emctl/output.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>

#define EXPERTS                                                                                   \
    "{\"kind\": \"expert\", \"name\": \"up_exps\", \"units\": 4, \"tensors\": 3, \"unitBytes\": " \
    "1024, \"bytes\": 4096}"
#define UNCUT                                                                        \
    "{\"kind\": \"tensor\", \"name\": \"down_exps\", \"units\": 1, \"tensors\": 1, " \
    "\"unitBytes\": "                                                                \
    "10, \"bytes\": 10, \"uncut\": \"why\"}"

static int show_layer(const char *json)
{
    json_t *layer = json_loads(json, 0, NULL);

    ck_assert_ptr_nonnull(layer);
    int r = output_text.list_units(&output, &subject, layer);
    json_decref(layer);
    return r;
}

START_TEST(test_table)
{
    open_output(&output_text, 0);
    ck_assert_int_eq(
        show_layer("{\"layer\": \"blk.0\", \"bytes\": 4106, \"groups\": [" EXPERTS ", " UNCUT "]}"),
        0);
    ck_assert_int_eq(show_layer("{\"layer\": \"sized\", \"bytes\": 7, \"groups\": []}"), 0);
    ck_assert_int_eq(output_text.list_end(&output, &subject, NULL), 0);
    char *text = close_output();
    ck_assert_str_eq(text, "LAYER / UNITS        UNITS    EACH    SIZE KIND\n"
                           "blk.0                              4.0 KiB layer\n"
                           "  up_exps and 2 more     4 1.0 KiB 4.0 KiB expert\n"
                           "  down_exps              1    10 B    10 B tensor, not cut: why\n"
                           "sized                                  7 B layer\n");
    free(text);
}
END_TEST

START_TEST(test_wrong_replies)
{
    open_output(&output_text, 0);
    ck_assert_int_eq(show_layer("{}"), -EBADMSG);
    ck_assert_int_eq(show_layer("{\"layer\": \"l\", \"bytes\": 1, \"groups\": 2}"), -EBADMSG);
    ck_assert_int_eq(show_layer("{\"layer\": \"l\", \"bytes\": 1, \"groups\": [{}]}"), -EBADMSG);
    free(close_output());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_units");
    TCase *tcase = tcase_create("output_units");
    tcase_add_test(tcase, test_table);
    tcase_add_test(tcase, test_wrong_replies);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
