/* A guessed trace: its shape, and the skew that it promises. */
#include "client/emctl/route_guess.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { EXPERTS = 120, USED = 6 };

static struct route_trace trace;

static void start(void)
{
    trace = (struct route_trace){0};
}

static void end(void)
{
    route_trace_done(&trace);
}

static bool has(const struct route_pass *pass, uint32_t expert)
{
    for (uint32_t i = pass->first; i < pass->first + pass->n; i++)
        if (trace.uses[i] == expert)
            return true;
    return false;
}

/* Layers without experts have no passes. A layer with fewer experts than a token uses has all in
 * each pass. */
START_TEST(test_shape)
{
    const struct route_layer layers[] = {{1, 2, EXPERTS}, {0, 5, 0}, {3, 4, 2}, {5, 6, 7}};
    const uint32_t n_used[] = {USED, 0, 2, USED};
    uint32_t at = 0, n_uses = 0;

    ck_assert_int_eq(route_guess(layers, 4, USED, &trace), 0);
    ck_assert_uint_eq(trace.n_layers, 4);
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(trace.layers[i].expert_bytes, layers[i].expert_bytes);
        ck_assert_uint_eq(trace.layers[i].dense_bytes, layers[i].dense_bytes);
        ck_assert_uint_eq(trace.layers[i].n_experts, layers[i].n_experts);
    }
    ck_assert_uint_eq(trace.n_steps, ROUTE_GUESS_TOKENS);
    for (uint32_t token = 0; token < ROUTE_GUESS_TOKENS; token++)
        for (uint32_t layer = 0; layer < 4; layer++) {
            if (n_used[layer] == 0)
                continue;
            const struct route_pass *pass = &trace.passes[at++];
            ck_assert_uint_eq(pass->layer, layer);
            ck_assert_uint_eq(pass->first, n_uses);
            ck_assert_uint_eq(pass->n, n_used[layer]);
            n_uses += pass->n;
            for (uint32_t i = pass->first; i < n_uses; i++) {
                ck_assert_uint_lt(trace.uses[i], layers[layer].n_experts);
                for (uint32_t j = pass->first; j < i; j++)
                    ck_assert_uint_ne(trace.uses[i], trace.uses[j]);
            }
        }
    ck_assert_uint_eq(trace.n_passes, at);
    ck_assert_uint_eq(trace.n_uses, n_uses);
}
END_TEST

/* Independent choices among 40 experts would repeat 15 % of the last token's. The experts are
 * different in a pass, so that some choices go to the next expert. */
START_TEST(test_skew)
{
    const struct route_layer layer = {1, 0, EXPERTS};
    uint32_t n_again = 0, n_preferred = 0, n_favourite = 0;

    ck_assert_int_eq(route_guess(&layer, 1, USED, &trace), 0);
    for (uint32_t at = 1; at < trace.n_passes; at++)
        for (uint32_t i = 0; i < USED; i++) {
            uint32_t expert = trace.uses[trace.passes[at].first + i];
            n_again += has(&trace.passes[at - 1], expert);
            n_preferred += expert < EXPERTS / ROUTE_GUESS_PREFERRED;
            n_favourite += expert < EXPERTS / ROUTE_GUESS_PREFERRED / 4;
        }
    ck_assert_uint_ge(n_preferred, trace.n_uses * 97 / 100);
    ck_assert_uint_ge(n_favourite, trace.n_uses * 40 / 100);
    ck_assert_uint_le(n_favourite, trace.n_uses * 60 / 100);
    ck_assert_uint_ge(n_again, trace.n_uses * 30 / 100);
    ck_assert_uint_le(n_again, trace.n_uses * 60 / 100);
}
END_TEST

START_TEST(test_same_again)
{
    const struct route_layer layers[] = {{1, 2, EXPERTS}, {3, 4, 9}};
    struct route_trace again = {0};

    ck_assert_int_eq(route_guess(layers, 2, USED, &trace), 0);
    ck_assert_int_eq(route_guess(layers, 2, USED, &again), 0);
    ck_assert_uint_eq(trace.n_uses, again.n_uses);
    ck_assert_mem_eq(trace.uses, again.uses, trace.n_uses * sizeof *trace.uses);
    route_trace_done(&again);
}
END_TEST

START_TEST(test_limits)
{
    static struct route_layer layers[ROUTE_USES_MAX / ROUTE_GUESS_TOKENS + 1];
    const uint32_t most = ROUTE_USES_MAX / ROUTE_GUESS_TOKENS;

    for (uint32_t i = 0; i <= most; i++)
        layers[i].n_experts = 1;
    ck_assert_int_eq(route_guess(layers, most + 1, 256, &trace), -E2BIG);
    ck_assert_int_eq(route_guess(layers, most, 256, &trace), 0);
    ck_assert_uint_eq(trace.n_uses, most * ROUTE_GUESS_TOKENS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route_guess");
    TCase *tcase = tcase_create("route_guess");
    tcase_add_checked_fixture(tcase, start, end);
    tcase_add_test(tcase, test_shape);
    tcase_add_test(tcase, test_skew);
    tcase_add_test(tcase, test_same_again);
    tcase_add_test(tcase, test_limits);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
