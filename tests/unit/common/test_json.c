/* Limits and syntax errors with their exact places, and no leak when an allocation fails. */
#include "common/json.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct json_limits limits = {
    .max_bytes = 1000, .max_depth = 4, .max_values = 10, .max_string_bytes = 62};
#define SIXTY "012345678901234567890123456789012345678901234567890123456789"

/* Texts with a separate length, so that they may have a NUL. */
#define TEXT(literal) literal, sizeof(literal) - 1

static const struct {
    const char *text;
    size_t n_bytes;
} good[] = {
    {TEXT("{}")},
    {TEXT(" \r\n\t[] \n")},
    {TEXT("[[[[]]]]")},
    {TEXT("[1,2,3,4,5,6,7,8]")},
    {TEXT("{\"a\":1,\"b\":2,\"c\":3,\"d\":4}")},
    {TEXT("[\"[[[[[[[[,,,,,,{{{{\\\"[[[[[[\\\\\"]")},
    {TEXT("[9223372036854775807,-9223372036854775808]")},
    {TEXT("[\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"]")},
    {TEXT("[true,false,null,-1.5e-3]")},
};

START_TEST(accepts)
{
    struct json_problem problem = {.line = 77};
    json_t *json = NULL;

    int r = json_parse(good[_i].text, good[_i].n_bytes, &limits, &json, &problem);
    ck_assert_msg(r == 0, "%s: %s", good[_i].text, problem.message);
    ck_assert_uint_eq(json->refcount, 1);
    json_decref(json);
}
END_TEST

static const struct {
    const char *text;
    size_t n_bytes;
    int r;
    unsigned line, column;
    const char *message;
} bad[] = {
    /* Limits. */
    {TEXT("[[[[[]]]]]"), -E2BIG, 1, 5, "nested deeper than 4 levels"},
    {TEXT("[\n [[\n  {\"a\":{}}]]]"), -E2BIG, 3, 8, "nested deeper than 4 levels"},
    {TEXT("[1,2,3,4,5,6,7,8,9]"), -E2BIG, 1, 18, "more than 10 values"},
    {TEXT("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\n\"e\":5}"), -E2BIG, 2, 1, "more than 10 values"},
    {TEXT("[[],[],[],[],\n\n{}]"), -E2BIG, 3, 1, "more than 10 values"},
    {TEXT("[1,2,3,4,5,6,7,\n[]]"), -E2BIG, 2, 1, "more than 10 values"},
    {TEXT("[\"" SIXTY "\",1,\"0" SIXTY "\"]"), -E2BIG, 1, 67, "string longer than 62 bytes"},
    {TEXT("{\"0" SIXTY "\":1}"), -E2BIG, 1, 2, "string longer than 62 bytes"},
    /* NUL. */
    {TEXT("[1,\0 2]"), -EBADMSG, 1, 4, "NUL byte"},
    {TEXT("[\"a\0b\"]"), -EBADMSG, 1, 4, "NUL byte"},
    {TEXT("{}\0"), -EBADMSG, 1, 3, "NUL byte"},
    {TEXT("[\"\\u0000\"]"), -EBADMSG, 1, 2, "NUL character in a string"},
    {TEXT("{\"\\u0000\":1}"), -EBADMSG, 1, 2, "NUL character in a key"},
    /* Ends. */
    {TEXT(""), -EBADMSG, 1, 1, "an object or an array is expected"},
    {TEXT("  \n "), -EBADMSG, 2, 2, "an object or an array is expected"},
    {TEXT("{"), -EBADMSG, 1, 2, "a key or '}' is expected"},
    {TEXT("[1,2"), -EBADMSG, 1, 5, "',' or ']' is expected"},
    {TEXT("[\"abc"), -EBADMSG, 1, 6, "the text ends too early"},
    {TEXT("[\"abc\\"), -EBADMSG, 1, 6, "invalid escape"},
    {TEXT("[1]x"), -EBADMSG, 1, 4, "nothing may follow the outermost value"},
    {TEXT("{}\n{}"), -EBADMSG, 2, 1, "nothing may follow the outermost value"},
    /* Not an object or array. */
    {TEXT("5"), -EBADMSG, 1, 1, "an object or an array is expected"},
    {TEXT(" \"text\""), -EBADMSG, 1, 2, "an object or an array is expected"},
    {TEXT("\xef\xbb\xbf{}"), -EBADMSG, 1, 1, "an object or an array is expected"},
    {TEXT("]"), -EBADMSG, 1, 1, "an object or an array is expected"},
    /* Tokens: the place is where the token begins. */
    {TEXT("{\"long\":1,\n \"long\":2}"), -EBADMSG, 2, 2, "duplicate key"},
    {TEXT("{\"a\":{\"b\":1,\"b\":1}}"), -EBADMSG, 1, 13, "duplicate key"},
    {TEXT("{\"a\":1,\"\\u0061\":1}"), -EBADMSG, 1, 8, "duplicate key"},
    {TEXT("[nul]"), -EBADMSG, 1, 2, "not a JSON value"},
    {TEXT("[ truely]"), -EBADMSG, 1, 3, "not a JSON value"},
    {TEXT("[01]"), -EBADMSG, 1, 2, "not a JSON value"},
    {TEXT("[+1]"), -EBADMSG, 1, 2, "not a JSON value"},
    {TEXT("[NaN]"), -EBADMSG, 1, 2, "not a JSON value"},
    {TEXT("['a']"), -EBADMSG, 1, 2, "not a JSON value"},
    {TEXT("[1,]"), -EBADMSG, 1, 4, "a value is expected"},
    {TEXT("{\"a\":}"), -EBADMSG, 1, 6, "a value is expected"},
    {TEXT("{\"a\":1,}"), -EBADMSG, 1, 8, "a key or '}' is expected"},
    {TEXT("{1:2}"), -EBADMSG, 1, 2, "a key or '}' is expected"},
    {TEXT("{\"a\" 1}"), -EBADMSG, 1, 6, "':' is expected"},
    {TEXT("{\"a\":1 \"bcd\":2}"), -EBADMSG, 1, 8, "',' or '}' is expected"},
    {TEXT("[\n\t1\n\t2]"), -EBADMSG, 3, 2, "',' or ']' is expected"},
    {TEXT("[1}"), -EBADMSG, 1, 3, "',' or ']' is expected"},
    /* Numbers. */
    {TEXT("[9223372036854775808]"), -EBADMSG, 1, 2, "integer beyond 64 bits"},
    {TEXT("[1, -9223372036854775809]"), -EBADMSG, 1, 5, "integer beyond 64 bits"},
    {TEXT("[1e999]"), -EBADMSG, 1, 2, "number too large"},
    /* Strings: the place is the byte. Columns count bytes, not characters. */
    {TEXT("[\"\xc3\xa9\xff\"]"), -EBADMSG, 1, 5, "invalid UTF-8"},
    {TEXT("[\"\xc3\"]"), -EBADMSG, 1, 3, "invalid UTF-8"},
    {TEXT("[\"\xed\xa0\x80\"]"), -EBADMSG, 1, 3, "invalid UTF-8"},
    {TEXT("[\"\xc0\x80\"]"), -EBADMSG, 1, 3, "invalid UTF-8"},
    {TEXT("[\"ab\ncd\"]"), -EBADMSG, 1, 5, "newline in a string"},
    {TEXT("[\"ab\x01\"]"), -EBADMSG, 1, 5, "control character 0x1"},
    {TEXT("[\"\xc3\xa9\\q\"]"), -EBADMSG, 1, 6, "invalid escape"},
    {TEXT("[\"\\u00g0\"]"), -EBADMSG, 1, 7, "invalid escape"},
    {TEXT("[1, \"\\ud800\"]"), -EBADMSG, 1, 5, "invalid Unicode '\\uD800'"},
    {TEXT("[\"\xc3\xa9\", @]"), -EBADMSG, 1, 8, "not a JSON value"},
};

START_TEST(refuses)
{
    struct json_problem problem = {.line = 77};
    json_t *json = NULL;

    /* A copy of the exact size, so that sanitizers detect a read beyond it. */
    char *text = malloc(bad[_i].n_bytes + 1);
    memcpy(text, bad[_i].text, bad[_i].n_bytes);
    text = realloc(text, bad[_i].n_bytes ? bad[_i].n_bytes : 1);
    int r = json_parse(text, bad[_i].n_bytes, &limits, &json, &problem);
    free(text);
    ck_assert_msg(r == bad[_i].r, "%s: %d", bad[_i].text, r);
    ck_assert_ptr_null(json);
    ck_assert_msg(problem.line == bad[_i].line && problem.column == bad[_i].column,
                  "%s: %u:%u instead of %u:%u", bad[_i].text, problem.line, problem.column,
                  bad[_i].line, bad[_i].column);
    ck_assert_str_eq(problem.message, bad[_i].message);
}
END_TEST

START_TEST(length)
{
    struct json_problem problem;
    char text[1002];
    json_t *json;

    memset(text, ' ', sizeof text);
    text[0] = '[';
    text[499] = '\n';
    text[999] = ']';
    ck_assert_int_eq(json_parse(text, 1000, &limits, &json, &problem), 0);
    json_decref(json);
    ck_assert_int_eq(json_parse(text, 1001, &limits, &json, &problem), -E2BIG);
    ck_assert_uint_eq(problem.line, 2);
    ck_assert_uint_eq(problem.column, 501);
    ck_assert_str_eq(problem.message, "longer than 1000 bytes");
}
END_TEST

/* jansson never makes more values than the scan has counted, as json.h counts them, for random
 * complete or truncated texts. */
static size_t count_values(json_t *json)
{
    const char *key;
    json_t *value;
    size_t i, n = json_is_object(json) || json_is_array(json) ? 2 : 1;

    json_object_foreach (json, key, value)
        n += 1 + count_values(value);
    json_array_foreach (json, i, value)
        n += count_values(value);
    return n;
}

START_TEST(random_texts)
{
    static const char *const pieces[] = {
        "[", "]",  "{",    "}",        ",",  ":", "\"a\"",  "\"b\"", "1",  "-",    "\"", "\\",
        " ", "\n", "null", "\"\\\"\"", "1,", "]", "\"x\":", "0.5",   "{}", "\xff", "[]"};
    const char *given = getenv("EDGEMIND_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    unsigned state = seed;
    int n_good = 0;

    for (int round = 0; round < 20000; round += case_step()) {
        struct json_problem problem = {.line = 0};
        json_t *json = NULL;
        char text[256] = "[";

        for (int i = rand_r(&state) % 24; i > 0; i--)
            strcat(text, pieces[rand_r(&state) % COUNT(pieces)]);
        if (rand_r(&state) % 2)
            strcat(text, "]");
        int r = json_parse(text, strlen(text), &limits, &json, &problem);
        if (r == 0) {
            n_good++;
            ck_assert_msg(count_values(json) <= limits.max_values, "seed %u: %s", seed, text);
            json_decref(json);
            continue;
        }
        ck_assert_msg(r == -EBADMSG || r == -E2BIG, "seed %u: %s", seed, text);
        ck_assert_msg(problem.line >= 1 && problem.column >= 1 &&
                          problem.column <= strlen(text) + 1 && problem.message[0],
                      "seed %u: %s", seed, text);
    }
    ck_assert_msg(n_good > 0, "seed %u", seed);
}
END_TEST

static long allocations_left;

static void *failing_malloc(size_t n)
{
    return allocations_left-- > 0 ? malloc(n) : NULL;
}

/* The leak reports of the sanitizers and of valgrind show whether memory is left. */
START_TEST(failing_allocations)
{
    static const char text[] = "{\"list\":[1,2.5,\"some text\",null,true],\"key\":{}}";
    static const struct json_limits wide = {1000, 10, 100};
    struct json_problem problem;
    bool failed = false, succeeded = false;

    json_set_alloc_funcs(failing_malloc, free);
    for (long n = 0; n < 200; n++) {
        json_t *json = NULL;
        allocations_left = n;
        int r = json_parse(text, strlen(text), &wide, &json, &problem);
        if (r == 0) {
            succeeded = true;
            json_decref(json);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
            ck_assert_ptr_null(json);
            failed = true;
        }
    }
    json_set_alloc_funcs(malloc, free);
    ck_assert(failed && succeeded);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");

    tcase_add_loop_test(tests, accepts, 0, COUNT(good));
    tcase_add_loop_test(tests, refuses, 0, COUNT(bad));
    tcase_add_test(tests, length);
    tcase_add_test(tests, random_texts);
    tcase_add_test(tests, failing_allocations);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
