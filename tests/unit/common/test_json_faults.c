/* Each allocation of a parse fails, alone or with all after it: the text is then refused with
 * -ENOMEM, or parsed correctly. */
#include "common/json.h"
#include "common/json_memory.h"
#include "tests/unit/failing_allocator.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct json_limits limits = {.max_bytes = 1000, .max_depth = 9, .max_values = 99};

/* Returns how many allocations a parse without failures makes. */
static uint64_t fail_each_allocation(const char *text)
{
    struct json_problem problem;
    json_t *whole;
    uint64_t n = 0;
    int r = -ENOMEM;

    json_memory_install();
    ck_assert_int_eq(json_parse(text, strlen(text), &limits, &whole, &problem), 0);
    while (r < 0) {
        json_t *json = NULL;
        allocations_until_failure = ++n;
        may_fail = 1;
        r = json_parse(text, strlen(text), &limits, &json, &problem);
        may_fail = 0;
        if (r == 0) {
            ck_assert(json_equal(json, whole));
            json_decref(json);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
        }
    }
    json_decref(whole);
    return n - 1;
}

START_TEST(test_every_allocation_fails)
{
    static const char *const texts[] = {
        "{\"method\":\"io.edgemind.manager.List\",\"parameters\":{\"model\":\"a \\u00e9\"}}",
        "[1,2.5,true,null,\"a text that is longer than the buffer of a short one\",{\"k\":[]}]",
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10}",
    };

    for (all_after_fail = 0; all_after_fail <= 1; all_after_fail++)
        ck_assert_uint_gt(fail_each_allocation(texts[_i]), 5);
}
END_TEST

/* jansson's room for a token is full at any byte of it, also at the last one. */
START_TEST(test_tokens_of_every_length)
{
    static const struct {
        const char *before, *after;
        int n_max;
    } tokens[] = {
        {"[\"", "\"]", 70},
        {"[\"", "\\\"\"]", 70},
        {"[\"", "\\u00e9\\ud83d\\ude00\"]", 70},
        {"[\"", "\xc3\xa9\xf0\x9f\x98\x80\"]", 70},
        {"{\"", "\":1}", 70},
        {"[1.5", ",2]", 70},
        {"[-1", ",2]", 17}, /* the digits of 64 bits */
    };
    static const char digits[] =
        "1111111111111111111111111111111111111111111111111111111111111111111111";
    char text[200];

    for (all_after_fail = 0; all_after_fail <= 1; all_after_fail++)
        for (int n = 0; n <= tokens[_i].n_max; n++) {
            snprintf(text, sizeof text, "%s%.*s%s", tokens[_i].before, n, digits, tokens[_i].after);
            fail_each_allocation(text);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json-faults");
    TCase *tcase = tcase_create("json-faults");

    tcase_add_loop_test(tcase, test_every_allocation_fails, 0, 3);
    tcase_add_loop_test(tcase, test_tokens_of_every_length, 0, 7);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
