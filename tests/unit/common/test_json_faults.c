/* Each allocation of a parse fails once: the text is then refused with -ENOMEM, or parsed
 * correctly. */
#include "common/json.h"
#include "common/json_memory.h"
#include "tests/unit/failing_allocator.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <string.h>

START_TEST(test_every_allocation_fails)
{
    static const char *const texts[] = {
        "{\"method\":\"io.edgemind.manager.List\",\"parameters\":{\"model\":\"a \\u00e9\"}}",
        "[1,2.5,true,null,\"a text that is longer than the buffer of a short one\",{\"k\":[]}]",
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10}",
    };
    static const struct json_limits limits = {.max_bytes = 1000, .max_depth = 9, .max_values = 99};
    const char *text = texts[_i];
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
    ck_assert_uint_gt(n, 5);
    json_decref(whole);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json-faults");
    TCase *tcase = tcase_create("json-faults");

    tcase_add_loop_test(tcase, test_every_allocation_fails, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
