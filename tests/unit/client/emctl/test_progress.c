/* The progress bar's line, at every width and with impossible numbers. */
#include "client/emctl/progress.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <math.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static const struct progress_state half = {.layers_done = 5,
                                           .layers_total = 10,
                                           .bytes_done = 40 * MIB,
                                           .bytes_total = 80 * MIB,
                                           .bytes_per_second = 20 * MIB};

START_TEST(whole_line)
{
    char line[PROGRESS_LINE_MAX];

    size_t n = progress_format(&half, 120, line);
    ck_assert_uint_eq(n, strlen(line));
    ck_assert_str_eq(line, "[###################...................]   50%  5/10 layers  "
                           "40.0 MiB of 80.0 MiB  20.0 MiB/s  0:02 left");
}
END_TEST

/* The useful parts stay longest. */
START_TEST(narrow)
{
    char line[PROGRESS_LINE_MAX];

    progress_format(&half, 80, line);
    ck_assert_ptr_nonnull(strstr(line, "0:02 left"));
    progress_format(&half, 40, line);
    ck_assert_str_eq(line, " 50%  5/10 layers  40.0 MiB of 80.0 MiB");
    progress_format(&half, 20, line);
    ck_assert_str_eq(line, " 50%  5/10 layers");
    progress_format(&half, 5, line);
    ck_assert_str_eq(line, " 50%");
    progress_format(&half, 4, line);
    ck_assert_str_eq(line, "");
    progress_format(&half, 0, line);
    ck_assert_str_eq(line, "");
}
END_TEST

static const struct progress_state states[] = {
    {0},
    {.layers_total = 1, .bytes_total = 1},
    {.layers_done = 1,
     .layers_total = 1,
     .bytes_done = 1,
     .bytes_total = 1,
     .bytes_per_second = 1e6},
    {.bytes_done = 5, .bytes_total = 3, .bytes_per_second = -1},
    {.bytes_done = 1, .bytes_total = UINT64_MAX, .bytes_per_second = 1e-9},
    {.bytes_done = 1, .bytes_total = UINT64_MAX, .bytes_per_second = 1e300},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 1},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, NAN},
    {0, UINT64_MAX, 0, UINT64_MAX, INFINITY},
    {.layers_done = 3,
     .layers_total = 7,
     .bytes_done = MIB,
     .bytes_total = 90000 * MIB,
     .bytes_per_second = MIB},
};

START_TEST(fits_every_width)
{
    char line[PROGRESS_LINE_MAX + 1];

    for (unsigned width = 0; width < 2 * PROGRESS_LINE_MAX; width += (unsigned)case_step()) {
        line[PROGRESS_LINE_MAX] = '~';
        size_t n = progress_format(&states[_i], width, line);
        ck_assert_uint_eq(n, strlen(line));
        ck_assert(n == 0 || n < width);
        ck_assert_int_eq(line[PROGRESS_LINE_MAX], '~');
        for (size_t i = 0; i < n; i++)
            ck_assert(line[i] >= ' ' && line[i] <= '~');
    }
}
END_TEST

START_TEST(share_is_of_the_bytes)
{
    char line[PROGRESS_LINE_MAX];
    struct progress_state state = {.layers_total = 2, .bytes_total = 1000};

    progress_format(&state, 80, line);
    ck_assert_ptr_nonnull(strstr(line, "  0%"));
    ck_assert_ptr_null(strstr(line, "left")); /* nothing is known yet */
    state.bytes_done = 999;
    progress_format(&state, 80, line);
    ck_assert_ptr_nonnull(strstr(line, " 99%")); /* 100 % means done */
    state.bytes_done = 1000;
    progress_format(&state, 80, line);
    ck_assert_ptr_nonnull(strstr(line, "100%"));
    state.bytes_done = 3000;
    progress_format(&state, 80, line);
    ck_assert_ptr_nonnull(strstr(line, "100%"));
}
END_TEST

START_TEST(remaining_time)
{
    char line[PROGRESS_LINE_MAX];
    /* 1 MiB/s, 90,000 MiB to go. */
    struct progress_state state = {
        .bytes_done = MIB, .bytes_total = 90001 * MIB, .bytes_per_second = MIB};

    progress_format(&state, 120, line);
    ck_assert_ptr_nonnull(strstr(line, "25:00:00 left"));
    state.bytes_total = 76 * MIB;
    progress_format(&state, 120, line);
    ck_assert_ptr_nonnull(strstr(line, "  1:15 left"));
    state.bytes_done = state.bytes_total - 1; /* never "0:00 left" */
    progress_format(&state, 120, line);
    ck_assert_ptr_nonnull(strstr(line, "  0:01 left"));
    state.bytes_done = state.bytes_total;
    progress_format(&state, 120, line);
    ck_assert_ptr_null(strstr(line, "left"));
}
END_TEST

#define SECOND UINT64_C(1000000)

/* At first the mean, later the rate of the last seconds. */
START_TEST(rate_is_smooth)
{
    struct progress_rate rate = {0};

    progress_rate_update(&rate, 10 * MIB, SECOND);
    ck_assert_double_eq_tol(rate.bytes_per_second, 10 * MIB, 1);
    progress_rate_update(&rate, 40 * MIB, 2 * SECOND);
    ck_assert_double_eq_tol(rate.bytes_per_second, 20 * MIB, 1);
    double before = rate.bytes_per_second;
    progress_rate_update(&rate, 240 * MIB, 2 * SECOND + SECOND / 10); /* one very fast chunk */
    ck_assert_double_gt(rate.bytes_per_second, before);
    ck_assert_double_lt(rate.bytes_per_second, 2000 * (double)MIB / 10);
    /* The disk has become slow: 1 MiB/s. */
    for (uint64_t i = 1; i <= 600; i++)
        progress_rate_update(&rate, 240 * MIB + i * MIB / 10, 3 * SECOND + i * SECOND / 10);
    ck_assert_double_eq_tol(rate.bytes_per_second, MIB, (double)MIB / 100);
}
END_TEST

START_TEST(rate_of_odd_clocks)
{
    struct progress_rate rate = {0};

    progress_rate_update(&rate, 5, 0);
    ck_assert_double_eq(rate.bytes_per_second, 0);
    progress_rate_update(&rate, 5 * MIB, SECOND);
    progress_rate_update(&rate, 9 * MIB, SECOND); /* no time has passed */
    ck_assert_double_eq_tol(rate.bytes_per_second, 5 * MIB, 1);
    progress_rate_update(&rate, 1 * MIB, 2 * SECOND); /* a layer starts over */
    ck_assert_double_ge(rate.bytes_per_second, 0);
    ck_assert_double_lt(rate.bytes_per_second, 5 * MIB);
    progress_rate_update(&rate, UINT64_MAX, UINT64_MAX);
    ck_assert_double_ge(rate.bytes_per_second, 0);
}
END_TEST

START_TEST(rate_follows)
{
    struct progress_rate rate = {0};

    progress_rate_update(&rate, 0, 0);
    ck_assert(rate.bytes_per_second == 0);
    progress_rate_update(&rate, 10 * MIB, 1000000);
    ck_assert_double_eq_tol(rate.bytes_per_second, 10.0 * MIB, 1);
    /* If a disk becomes ten times slower, the rate shows it after some time, not at once. */
    uint64_t bytes = 10 * MIB, usec = 1000000;
    for (int i = 0; i < 100; i++) {
        bytes += MIB / 10;
        usec += 100000;
        progress_rate_update(&rate, bytes, usec);
        if (i == 0)
            ck_assert(rate.bytes_per_second > 5.0 * MIB);
    }
    ck_assert(rate.bytes_per_second > 0.9 * MIB);
    ck_assert(rate.bytes_per_second < 2.0 * MIB);
    /* A clock or a count that runs backwards does no harm. */
    progress_rate_update(&rate, 0, 0);
    ck_assert(rate.bytes_per_second >= 0 && rate.bytes_per_second < 2.0 * MIB);
}
END_TEST

/* No terminal: not a byte is written. */
START_TEST(no_terminal)
{
    FILE *file = tmpfile();
    struct progress progress;
    struct progress_state state = half;

    progress_start(&progress, file);
    progress_draw(&progress, &state);
    progress_end(&progress);
    fflush(file);
    ck_assert_int_eq(ftell(file), 0);
    fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("progress");
    TCase *tests = tcase_create("progress");

    tcase_add_test(tests, whole_line);
    tcase_add_test(tests, narrow);
    tcase_add_loop_test(tests, fits_every_width, 0, (int)(sizeof states / sizeof *states));
    tcase_add_test(tests, share_is_of_the_bytes);
    tcase_add_test(tests, remaining_time);
    tcase_add_test(tests, rate_follows);
    tcase_add_test(tests, rate_is_smooth);
    tcase_add_test(tests, rate_of_odd_clocks);
    tcase_add_test(tests, no_terminal);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
