/* A text and the tree that was made of it, and texts with other values. */
#include "common/json_matches.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <string.h>

static const struct {
    const char *text, *other; /* NULL: the text is only compared with its own tree */
} cases[] = {
    {"{}", NULL},
    {"[]", "{}"},
    {"[]", "[1]"},
    {"[1]", "[]"},
    {"[[],{}]", "[[]]"},
    {" { \"a\" :\t1 ,\r\n\"b\":[ true,false , null ] } ", NULL},
    {"{\"a\":1,\"b\":2}", "{\"a\":1,\":2}"},
    {"{\"a\":1,\"b\":2}", "{\"a\":1,:2}"},
    {"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2"},
    {"{\"a\":1,\"b\":2}", "{\"a\":1\"b\":2}"},
    {"{\"a\":1,\"b\":2}", "{\"a\":1}"},
    {"{\"a\":1}", "{\"a\":1,\"b\":2}"},
    {"{\"a\":1}", "{\"a\":1}]"},
    {"{\"a\":\"a\"}", "{:\"a\"}"},
    {"[\"abc\"]", "[\"ab\"]"},
    {"[\"ab\"]", "[\"abc\"]"},
    {"[\"abc\"]", "[\"abc]"},
    {"[\"abc\"]", "[\"abd\"]"},
    {"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", NULL},
    {"[\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"]", NULL},
    {"[\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"]", "[\"\\u0041\\u00e9\\u20ac\\ud83d\\ude01\"]"},
    {"[\"A\xc3\xa9\"]", "[\"\\u0041\\u00e\"]"},
    {"[\"A\"]", "[\"\\"},
    {"[\"A\"]", "[\"\\u004"},
    {"[0,-0,-1,9223372036854775807,-9223372036854775808]", NULL},
    {"[12345678901234567]", "[1234567890123456]"},
    {"[1]", "[2]"},
    {"[1]", "[true]"},
    {"[true]", "[tru]"},
    {"[true]", "[false]"},
    {"[null]", "[\"null\"]"},
    {"[0.1,-1.5e-300,1E9,123456789.12345678]", NULL},
    {"[123456789.12345678]", "[123456789.1234567]"},
    {"[1.0]", "[1.5]"},
};

START_TEST(matches)
{
    const char *text = cases[_i].text, *other = cases[_i].other;
    json_t *json = json_loads(text, 0, NULL);

    ck_assert_ptr_nonnull(json);
    ck_assert(json_matches(text, strlen(text), json));
    char *written = json_dumps(json, 0);
    ck_assert(json_matches(written, strlen(written), json));
    if (other)
        ck_assert(!json_matches(other, strlen(other), json));
    for (size_t n = strlen(written); n-- > 0;)
        ck_assert(!json_matches(written, n, json));
    free(written);
    json_decref(json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_matches");
    TCase *tests = tcase_create("json_matches");

    tcase_add_loop_test(tests, matches, 0, sizeof cases / sizeof cases[0]);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
