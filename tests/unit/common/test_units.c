/* Sizes, durations and rounding, at their edges. */
#include "common/units.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define UNTOUCHED    UINT64_C(0x5eed)

static const struct {
    const char *text;
    int r;
    uint64_t value;
} sizes[] = {
    {"0", 0, 0},
    {"1", 0, 1},
    {"4096B", 0, 4096},
    {"1K", 0, 1024},
    {"50M", 0, 52428800},
    {"50 M", 0, 52428800},
    {"1.5G", 0, 1610612736},
    {"0.5K", 0, 512},
    {"0.001K", 0, 1},
    {"1.9", 0, 1},
    {"3T", 0, UINT64_C(3298534883328)},
    {"2P", 0, UINT64_C(2251799813685248)},
    {"15E", 0, UINT64_C(17293822569102704640)},
    {"15.999999999999999999E", 0, UINT64_C(18446744073709551614)},
    {"18446744073709551615", 0, UINT64_MAX},
    {"000000000000000000000000000001K", 0, 1024},
    {"0.00000000000000000000000000000000000000001G", 0, 0},
    {"18446744073709551616", -ERANGE, 0},
    {"16E", -ERANGE, 0},
    {"18014398509481984K", -ERANGE, 0},
    {"18446744073709551615K", -ERANGE, 0},
    {"99999999999999999999999999999999", -ERANGE, 0},
    {"", -EINVAL, 0},
    {" ", -EINVAL, 0},
    {"M", -EINVAL, 0},
    {"-1", -EINVAL, 0},
    {"+1", -EINVAL, 0},
    {" 1", -EINVAL, 0},
    {"1 ", -EINVAL, 0},
    {"1M ", -EINVAL, 0},
    {"1m", -EINVAL, 0},
    {"1MB", -EINVAL, 0},
    {"1MiB", -EINVAL, 0},
    {"1M1K", -EINVAL, 0},
    {"1.", -EINVAL, 0},
    {".5M", -EINVAL, 0},
    {"1.5.5M", -EINVAL, 0},
    {"1,5M", -EINVAL, 0},
    {"0x10", -EINVAL, 0},
    {"1e3", -EINVAL, 0},
    {"nan", -EINVAL, 0},
    {"50%", -EINVAL, 0},
    {"1\n", -EINVAL, 0},
};

START_TEST(parse_size)
{
    uint64_t value = UNTOUCHED;

    ck_assert_msg(size_parse(sizes[_i].text, &value) == sizes[_i].r, "\"%s\"", sizes[_i].text);
    ck_assert_msg(value == (sizes[_i].r == 0 ? sizes[_i].value : UNTOUCHED), "\"%s\" gave %ju",
                  sizes[_i].text, (uintmax_t)value);
}
END_TEST

static const struct {
    uint64_t bytes;
    const char *text;
} formats[] = {
    {0, "0 B"},
    {1, "1 B"},
    {1023, "1023 B"},
    {1024, "1.0 KiB"},
    {1025, "1.0 KiB"},
    {1536, "1.5 KiB"},
    {8192, "8.0 KiB"},
    {1023 * 1024 + 972, "1023.9 KiB"},
    {1024 * 1024 - 1, "1.0 MiB"},
    {1024 * 1024, "1.0 MiB"},
    {52428800, "50.0 MiB"},
    {83947520, "80.1 MiB"},
    {UINT64_C(1) << 30, "1.0 GiB"},
    {UINT64_C(1) << 40, "1.0 TiB"},
    {UINT64_C(1) << 50, "1.0 PiB"},
    {UINT64_C(1) << 60, "1.0 EiB"},
    {UINT64_MAX, "16.0 EiB"},
};

START_TEST(format_size)
{
    char text[SIZE_TEXT_MAX];

    ck_assert_ptr_eq(size_format(formats[_i].bytes, text), text);
    ck_assert_str_eq(text, formats[_i].text);
}
END_TEST

static const struct {
    const char *text;
    int r;
    uint64_t usec;
} durations[] = {
    {"0", 0, 0},
    {"1", 0, 1000000},
    {"1s", 0, 1000000},
    {"1 s", 0, 1000000},
    {"500ms", 0, 500000},
    {"20us", 0, 20},
    {"1min", 0, 60000000},
    {"2h", 0, UINT64_C(7200000000)},
    {"1d", 0, UINT64_C(86400000000)},
    {"1min 30s", 0, 90000000},
    {"1min30s", 0, 90000000},
    {"1h 1min 1s 1ms 1us", 0, UINT64_C(3661001001)},
    {"0.5", 0, 500000},
    {"1.5s", 0, 1500000},
    {"0.0000019s", 0, 1},
    {"18446744073709551615us", 0, UINT64_MAX},
    {"18446744073709551616us", -ERANGE, 0},
    {"18446744073709551615us 1us", -ERANGE, 0},
    {"18446744073710s", -ERANGE, 0},
    {"5124095576031h", -ERANGE, 0},
    {"", -EINVAL, 0},
    {"s", -EINVAL, 0},
    {"-1s", -EINVAL, 0},
    {"1m", -EINVAL, 0},
    {"1S", -EINVAL, 0},
    {"1sec", -EINVAL, 0},
    {"1 2", -EINVAL, 0},
    {"1min 30", -EINVAL, 0},
    {"30 1min", -EINVAL, 0},
    {"1 ", -EINVAL, 0},
    {"1min ", -EINVAL, 0},
    {"1min,30s", -EINVAL, 0},
    {"infinity", -EINVAL, 0},
};

START_TEST(parse_duration)
{
    uint64_t usec = UNTOUCHED;

    ck_assert_msg(duration_parse(durations[_i].text, &usec) == durations[_i].r, "\"%s\"",
                  durations[_i].text);
    ck_assert_msg(usec == (durations[_i].r == 0 ? durations[_i].usec : UNTOUCHED),
                  "\"%s\" gave %ju", durations[_i].text, (uintmax_t)usec);
}
END_TEST

static const struct {
    uint64_t usec;
    const char *text;
} duration_formats[] = {
    {0, "0 us"},
    {1, "1 us"},
    {999, "999 us"},
    {1000, "1.00 ms"},
    {1004, "1.00 ms"},
    {1005, "1.01 ms"},
    {9994, "9.99 ms"},
    {9995, "10.0 ms"},
    {36449, "36.4 ms"},
    {99949, "99.9 ms"},
    {99950, "100 ms"},
    {999499, "999 ms"},
    {999500, "1.00 s"},
    {1000000, "1.00 s"},
    {1250000, "1.25 s"},
    {9995000, "10.0 s"},
    {59999999, "60.0 s"},
    {60000000, "1 min 0 s"},
    {200999999, "3 min 20 s"},
    {3600000000, "1 h 0 min"},
    {UINT64_C(86399999999), "23 h 59 min"},
    {UINT64_C(183600000000), "2 d 3 h"},
    {UINT64_MAX, "213503982 d 8 h"},
};

START_TEST(format_duration)
{
    char text[DURATION_TEXT_MAX];

    ck_assert_ptr_eq(duration_format(duration_formats[_i].usec, text), text);
    ck_assert_str_eq(text, duration_formats[_i].text);
}
END_TEST

static const struct {
    uint64_t value, unit;
    int r;
    uint64_t result;
} roundings[] = {
    {0, 4096, 0, 0},
    {1, 4096, 0, 4096},
    {4095, 4096, 0, 4096},
    {4096, 4096, 0, 4096},
    {4097, 4096, 0, 8192},
    {10, 3, 0, 12},
    {7, 1, 0, 7},
    {UINT64_MAX, 1, 0, UINT64_MAX},
    {UINT64_MAX - 4095, 4096, 0, UINT64_MAX - 4095},
    {UINT64_MAX - 4094, 4096, -EOVERFLOW, 0},
    {UINT64_MAX, 2, -EOVERFLOW, 0},
    {1, UINT64_MAX, 0, UINT64_MAX},
};

START_TEST(round_to_unit)
{
    uint64_t result = UNTOUCHED;

    ck_assert_int_eq(round_up(roundings[_i].value, roundings[_i].unit, &result), roundings[_i].r);
    ck_assert_uint_eq(result, roundings[_i].r == 0 ? roundings[_i].result : UNTOUCHED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("units");
    TCase *tests = tcase_create("units");

    tcase_add_loop_test(tests, parse_size, 0, COUNT(sizes));
    tcase_add_loop_test(tests, format_size, 0, COUNT(formats));
    tcase_add_loop_test(tests, parse_duration, 0, COUNT(durations));
    tcase_add_loop_test(tests, format_duration, 0, COUNT(duration_formats));
    tcase_add_loop_test(tests, round_to_unit, 0, COUNT(roundings));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
