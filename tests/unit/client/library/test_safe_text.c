/* Characters that must never reach a terminal, and text that must stay readable. */
#include "client/library/safe_text.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    const char *safe;
} texts[] = {
    {"", ""},
    {"dense_3", "dense_3"},
    {"mod\xc3\xa8le \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x90\xb1",
     "mod\xc3\xa8le \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x90\xb1"},
    {"\x1b[2J", "\\u001b[2J"},
    {"a\nb\tc\rd", "a\\u000ab\\u0009c\\u000dd"},
    {"\x7f", "\\u007f"},
    {"\xc2\x9b"
     "31m",
     "\\u009b31m"}, /* CSI of C1 */
    {"\xe2\x80\xae"
     "gnp.exe",
     "\\u202egnp.exe"}, /* right-to-left override */
    {"\xe2\x81\xa6", "\\u2066"},
    {"\xe2\x80\xa8", "\\u2028"},
    {"\xef\xbb\xbf", "\\ufeff"},
    {"\xff", "\\u00ff"},            /* not UTF-8 at all */
    {"a\x80z", "a\\u0080z"},        /* a continuation without a start */
    {"\xc0\xaf", "\\u00c0\\u00af"}, /* overlong */
    {"\xe0\x9f\xbf", "\\u00e0\\u009f\\u00bf"},
    {"\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"},            /* half a surrogate pair */
    {"\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080"}, /* beyond U+10FFFF */
    {"\xe2\x80", "\\u00e2\\u0080"},                       /* cut off */
    {"\xf0", "\\u00f0"},
};

START_TEST(safe)
{
    char *text = safe_text(texts[_i].text);
    ck_assert_str_eq(text, texts[_i].safe);
    free(text);
}
END_TEST

START_TEST(every_byte)
{
    for (int both = 1 << 8; both < 1 << 16; both += case_step()) {
        const char bytes[] = {(char)(both >> 8), (char)both, 0};
        char *text = safe_text(bytes);
        for (const char *at = text; *at; at++)
            ck_assert((unsigned char)*at >= 0x20 && *at != 0x7f);
        free(text);
    }
}
END_TEST

START_TEST(in_json)
{
    json_t *value =
        json_loads("{\"a\":\"x\\u001b\",\"b\":[1,null,{\"c\":\"\\u0007\"},\"ok\"]}", 0, NULL);
    json_t *wanted =
        json_loads("{\"a\":\"x\\\\u001b\",\"b\":[1,null,{\"c\":\"\\\\u0007\"},\"ok\"]}", 0, NULL);

    ck_assert_int_eq(safe_json(value), 0);
    ck_assert(json_equal(value, wanted));
    json_decref(value);
    json_decref(wanted);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safe");
    TCase *tests = tcase_create("safe");

    tcase_add_loop_test(tests, safe, 0, (int)(sizeof texts / sizeof *texts));
    tcase_add_test(tests, every_byte);
    tcase_add_test(tests, in_json);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
