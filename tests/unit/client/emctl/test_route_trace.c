/* Which traces are read, what of them is kept, and which line is wrong. */
#include "client/emctl/route_trace.h"
#include "tests/unit/route_trace_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>

#define LAYERS "# layer=0 expert_bytes=10 dense_bytes=5\n# layer=2 expert_bytes=20 dense_bytes=6\n"

START_TEST(test_decoding_without_its_first_step)
{
    _cleanup_(route_trace_done) struct route_trace trace = {0};
    struct route_failure failure;
    const char *text = "# route_trace v1\n" LAYERS "turn,phase,step,layer,slot,expert,weight\n"
                       "0,0,0,0,0,90,0.5\n"
                       "0,1,7,0,0,80,0.5\n"
                       "0,1,7,2,0,81,0.5\n"
                       "0,1,8,0,0,3,0.5\n"
                       "0,1,8,0,1,1,0.5\n"
                       "0,1,8,2,0,4,0.5\n"
                       "0,0,0,2,0,99,0.5\n"
                       "1,1,8,2,0,0,0.5\r\n"
                       "1,1,9,2,0,5";
    const uint32_t uses[] = {3, 1, 4, 0, 5};
    const struct route_pass passes[] = {{0, 0, 2}, {2, 2, 1}, {2, 3, 1}, {2, 4, 1}};

    ck_assert_int_eq(read_route_trace(text, &trace, &failure), 0);
    ck_assert_uint_eq(trace.n_layers, 3);
    ck_assert_uint_eq(trace.n_steps, 3);
    ck_assert_uint_eq(trace.n_uses, 5);
    ck_assert_mem_eq(trace.uses, uses, sizeof uses);
    ck_assert_uint_eq(trace.n_passes, 4);
    ck_assert_mem_eq(trace.passes, passes, sizeof passes);
    ck_assert_uint_eq(trace.layers[0].n_experts, 4);
    ck_assert_uint_eq(trace.layers[1].n_experts, 0);
    ck_assert_uint_eq(trace.layers[2].n_experts, 6);
    ck_assert_uint_eq(trace.layers[2].expert_bytes, 20);
    ck_assert_uint_eq(trace.layers[2].dense_bytes, 6);
}
END_TEST

#define LONG_FIELD                                                                                \
    "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111" \
    "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"

static const struct {
    const char *text;
    unsigned long line;
    const char *what; /* a part of it */
} wrong[] = {
    {"", 0, "no second step"},
    {LAYERS "0,1,0,0,0,0\n0,0,1,0,0,0\n", 0, "no second step"},
    {LAYERS "0,1,0,1,0,0\n", 3, "unknown layer"},
    {LAYERS "0,0,0,3,0,0\n", 3, "unknown layer"},
    {LAYERS "0,1,0,4294967296,0,0\n", 3, "unknown layer"},
    {LAYERS "0,1,0,0,0,4096\n", 3, "below 4096"},
    {LAYERS "0,1,0,0,0\n", 3, "a row begins"},
    {LAYERS "0,1,0,0,0,-1\n", 3, "a row begins"},
    {LAYERS "0,1,0,0,0,18446744073709551616\n", 3, "a row begins"},
    {LAYERS "0,1,0,0,0,0\n0,1,1,0,0,7\n0,1,1,0,1,7\n", 5, "twice"},
    {"# layer=0 expert_bytes=0 dense_bytes=5\n", 1, "0 bytes"},
    {"# layer=0 expert_bytes=1099511627777 dense_bytes=5\n", 1, "1 TiB"},
    {"# layer=0 expert_bytes=1 dense_bytes=1099511627777\n", 1, "1 TiB"},
    {"# layer=0 dense_bytes=5\n", 1, "expert_bytes"},
    {"# layer=4096 expert_bytes=5 dense_bytes=5\n", 1, "below 4096"},
    {LAYERS "# layer=2 expert_bytes=20 dense_bytes=6\n", 3, "described twice"},
    {LAYERS "0,1,0,0,0,0," LONG_FIELD LONG_FIELD LONG_FIELD "\n", 3, "too long"},
};

START_TEST(test_wrong)
{
    struct route_trace trace = {0};
    struct route_failure failure;

    ck_assert_int_eq(read_route_trace(wrong[_i].text, &trace, &failure), -EBADMSG);
    ck_assert_ptr_null(trace.layers);
    ck_assert_uint_eq(failure.line, wrong[_i].line);
    ck_assert_msg(strstr(failure.what, wrong[_i].what), "%s", failure.what);
}
END_TEST

/* Rows of `n_steps` steps, in each of which `n_layers` layers use the experts from `first` to
 * `end - 1`; malloc'ed. */
static char *make_rows(int n_steps, int n_layers, int first, int end)
{
    char *text;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    for (int layer = 0; layer < n_layers; layer++)
        fprintf(stream, "# layer=%d expert_bytes=1\n", layer);
    for (int step = 0; step < n_steps; step++)
        for (int layer = 0; layer < n_layers; layer++)
            for (int expert = first; expert < end; expert++)
                fprintf(stream, "0,1,%d,%d,0,%d\n", step, layer, expert);
    fclose(stream);
    return text;
}

static void assert_rows(int n_layers, int first, int end, const char *what)
{
    struct route_trace trace = {0};
    struct route_failure failure;
    _cleanup_(freep) char *text = make_rows(2, n_layers, first, end);
    int r = read_route_trace(text, &trace, &failure);

    ck_assert_int_eq(r, what ? -EBADMSG : 0);
    if (what)
        ck_assert_msg(strstr(failure.what, what), "%s", failure.what);
    route_trace_done(&trace);
}

START_TEST(test_limits)
{
    assert_rows(1, 0, ROUTE_PASS_MAX, NULL);
    assert_rows(1, 0, ROUTE_PASS_MAX + 1, "too many experts");
    /* The units of a model are limited, and the largest number says how many a layer has. */
    assert_rows(244, 4095, 4096, NULL);
    assert_rows(245, 4095, 4096, "more than 1000000 experts");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route_trace");
    TCase *tcase = tcase_create("route_trace");
    tcase_add_test(tcase, test_decoding_without_its_first_step);
    tcase_add_loop_test(tcase, test_wrong, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(tcase, test_limits);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
