/* Every boundary of well-formedness, and cuts between characters. */
#include "common/utf8.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct {
    const char *text;
    size_t n_bytes, n; /* n 0: malformed */
    uint32_t character;
} cases[] = {
    {"", 0, 0, 0},
    {"\0", 1, 1, 0},
    {"a\xff", 2, 1, 'a'},
    {"\x7f", 1, 1, 0x7f},
    {"\x80", 1, 0, 0},
    {"\xbf\x80", 2, 0, 0},
    {"\xc0\x80", 2, 0, 0},
    {"\xc1\xbf", 2, 0, 0},
    {"\xc2\x80", 2, 2, 0x80},
    {"\xc2", 1, 0, 0},
    {"\xc2\xc2", 2, 0, 0},
    {"\xdf\xbf", 2, 2, 0x7ff},
    {"\xe0\x9f\xbf", 3, 0, 0},
    {"\xe0\xa0\x80", 3, 3, 0x800},
    {"\xe0\xa0", 2, 0, 0},
    {"\xed\x9f\xbf", 3, 3, 0xd7ff},
    {"\xed\xa0\x80", 3, 0, 0},
    {"\xed\xbf\xbf", 3, 0, 0},
    {"\xee\x80\x80", 3, 3, 0xe000},
    {"\xef\xbf\xbf", 3, 3, 0xffff},
    {"\xf0\x8f\xbf\xbf", 4, 0, 0},
    {"\xf0\x90\x80\x80", 4, 4, 0x10000},
    {"\xf0\x90\x80", 3, 0, 0},
    {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
    {"\xf4\x90\x80\x80", 4, 0, 0},
    {"\xf5\x80\x80\x80", 4, 0, 0},
    {"\xf8\x88\x80\x80\x80", 5, 0, 0},
    {"\xff", 1, 0, 0},
};

START_TEST(characters)
{
    /* A copy of the exact size, so that sanitizers detect a read beyond it. */
    char *text = malloc(cases[_i].n_bytes ? cases[_i].n_bytes : 1);
    uint32_t character = 77;

    memcpy(text, cases[_i].text, cases[_i].n_bytes);
    ck_assert_uint_eq(utf8_character(text, cases[_i].n_bytes, &character), cases[_i].n);
    ck_assert_uint_eq(character, cases[_i].n ? cases[_i].character : 77);
    free(text);
}
END_TEST

START_TEST(controls)
{
    static const uint32_t yes[] = {0, 0x1f, 0x7f, 0x80, 0x9f}, no[] = {0x20, 0x7e, 0xa0, 0x10ffff};

    for (int i = 0; i < COUNT(yes); i++)
        ck_assert(utf8_is_control(yes[i]));
    for (int i = 0; i < COUNT(no); i++)
        ck_assert(!utf8_is_control(no[i]));
}
END_TEST

START_TEST(prefixes)
{
    static const int expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};

    for (int n = 0; n < COUNT(expected); n++)
        ck_assert_int_eq(utf8_prefix("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", n), expected[n]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tests = tcase_create("utf8");

    tcase_add_loop_test(tests, characters, 0, COUNT(cases));
    tcase_add_test(tests, controls);
    tcase_add_test(tests, prefixes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
