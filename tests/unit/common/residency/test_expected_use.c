/* The choice against a naive one that computes every unit's distance from the formula. */
#include "common/residency/expected_use.h"
#include "tests/unit/case_step.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <string.h>

enum { LAYERS = 6, UNITS = 48, FOLLOWERS_KEPT = 10, RECENT = 16 };

static struct naive {
    uint32_t n_layers, n_units[LAYERS], at;
    bool offered[LAYERS][UNITS];
    double short_frequency[LAYERS][UNITS], long_frequency[LAYERS][UNITS]; /* at the next pass */
    int n_uses[LAYERS][UNITS], follows[LAYERS][UNITS][UNITS];
    uint32_t recent[LAYERS][RECENT], n_recent[LAYERS];
} naive;

static void naive_follow(int counts[static UNITS], uint32_t follower)
{
    int n_kept = 0;
    for (int i = 0; i < UNITS; i++)
        n_kept += counts[i] > 0;
    if (counts[follower] > 0 || n_kept < FOLLOWERS_KEPT)
        counts[follower]++;
    else
        for (int i = 0; i < UNITS; i++)
            counts[i] -= counts[i] > 0;
}

static void naive_pass(uint32_t layer, const uint32_t *units, uint32_t n)
{
    bool used[UNITS] = {0};

    naive.at = layer;
    for (uint32_t i = 0; n <= RECENT && i < naive.n_recent[layer]; i++)
        for (uint32_t j = 0; j < n; j++)
            naive_follow(naive.follows[layer][naive.recent[layer][i]], units[j]);
    naive.n_recent[layer] = n <= RECENT ? n : 0;
    for (uint32_t i = 0; i < n; i++) {
        used[units[i]] = true;
        if (naive.n_uses[layer][units[i]]++ == UINT8_MAX) {
            naive.n_uses[layer][units[i]] = UINT8_MAX / 2 + 1;
            for (uint32_t j = 0; j < UNITS; j++)
                naive.follows[layer][units[i]][j] /= 2;
        }
        if (n <= RECENT)
            naive.recent[layer][i] = units[i];
    }
    for (uint32_t i = 0; i < naive.n_units[layer]; i++) {
        double *s = &naive.short_frequency[layer][i], *l = &naive.long_frequency[layer][i];
        *s = (*s + (used[i] ? 1 / 1.3 : 0)) * (1 - 1 / 1.3);
        *l = (*l + (used[i] ? 1 / 30.0 : 0)) * (1 - 1 / 30.0);
    }
}

static double naive_distance(struct unit_id unit)
{
    uint32_t l = unit.layer, n_on = (l + naive.n_layers - naive.at - 1) % naive.n_layers + 1;
    double p =
        1e-3 + naive.short_frequency[l][unit.index] / 2 + naive.long_frequency[l][unit.index] / 2;

    for (uint32_t i = 0; i < naive.n_recent[l]; i++) {
        uint32_t recent = naive.recent[l][i];
        p += 0.2 * naive.follows[l][recent][unit.index] / (naive.n_uses[l][recent] + 3);
    }
    return 3.0 * n_on / naive.n_layers + 1 / fmin(p, 1) - 1;
}

static double naive_furthest(void)
{
    double furthest = -1;

    for (uint32_t l = 0; l < naive.n_layers; l++)
        for (uint32_t i = 0; i < naive.n_units[l]; i++)
            if (naive.offered[l][i])
                furthest = fmax(furthest, naive_distance((struct unit_id){l, i}));
    return furthest;
}

static void assert_choice(struct expected_use *uses)
{
    struct unit_id unit;
    double furthest = naive_furthest();

    ck_assert_int_eq(expected_use_choose(uses, &unit), furthest >= 0);
    if (furthest < 0)
        return;
    ck_assert(naive.offered[unit.layer][unit.index]);
    ck_assert_double_eq_tol(naive_distance(unit), furthest, furthest * 1e-4 + 1e-5);
}

/* A few units are used much more often than the others, as a router chooses. */
static uint32_t choose_units(uint32_t layer, uint32_t units[static UNITS])
{
    uint32_t n = 0, wanted = (uint32_t)random_below(random_below(8) == 0 ? 24 : 7);
    bool used[UNITS] = {0};

    for (uint32_t i = 0; i < wanted && naive.n_units[layer] > 0; i++) {
        uint32_t below = 1 + (uint32_t)random_below(naive.n_units[layer]);
        uint32_t unit = (uint32_t)random_below(below);
        if (!used[unit])
            units[n++] = unit;
        used[unit] = true;
    }
    return n;
}

static void offer_or_withdraw(struct expected_use *uses)
{
    uint32_t layer = (uint32_t)random_below(naive.n_layers);

    if (naive.n_units[layer] == 0)
        return;
    struct unit_id unit = {layer, (uint32_t)random_below(naive.n_units[layer])};
    bool offered = random_below(3) > 0;
    (offered ? expected_use_offer : expected_use_withdraw)(uses, unit);
    naive.offered[unit.layer][unit.index] = offered;
}

START_TEST(test_against_naive)
{
    ck_assert(random_begin());
    for (int round = 0; round < 40; round += case_step()) {
        _cleanup_(expected_use_freep) struct expected_use *uses = NULL;
        memset(&naive, 0, sizeof naive);
        naive.n_layers = 1 + (uint32_t)random_below(LAYERS);
        for (uint32_t i = 0; i < naive.n_layers; i++)
            naive.n_units[i] = (uint32_t)random_below(UNITS + 1);
        ck_assert_int_eq(expected_use_new(naive.n_units, naive.n_layers, &uses), 0);
        for (int step = 0; step < 2000; step++) {
            uint32_t units[UNITS];
            uint32_t layer = (uint32_t)(random_below(10) == 0 ? random_below(naive.n_layers)
                                                              : (naive.at + 1) % naive.n_layers);
            uint32_t n = choose_units(layer, units);
            expected_use_pass(uses, layer, units, n);
            naive_pass(layer, units, n);
            for (uint64_t i = random_below(4); i > 0; i--)
                offer_or_withdraw(uses);
            assert_choice(uses);
        }
    }
}
END_TEST

/* As long as nothing is offered nothing is chosen, and everything that is offered is chosen once.
 */
START_TEST(test_each_once)
{
    enum { N = 1000 };
    _cleanup_(expected_use_freep) struct expected_use *uses = NULL;
    uint32_t all[N], n_units[] = {N, 0, N};
    bool chosen[3][N] = {0};
    struct unit_id unit;

    for (uint32_t i = 0; i < N; i++)
        all[i] = i;
    ck_assert_int_eq(expected_use_new(n_units, 3, &uses), 0);
    ck_assert(!expected_use_choose(uses, &unit));
    for (uint32_t i = 0; i < N; i++) {
        expected_use_pass(uses, i % 3, all, i % 3 == 1 ? 0 : i);
        expected_use_offer(uses, (struct unit_id){0, i});
        expected_use_offer(uses, (struct unit_id){2, i});
    }
    for (uint32_t i = 0; i < 2 * N; i++) {
        ck_assert(expected_use_choose(uses, &unit));
        ck_assert(!chosen[unit.layer][unit.index]);
        chosen[unit.layer][unit.index] = true;
        expected_use_withdraw(uses, unit);
    }
    ck_assert(!expected_use_choose(uses, &unit));
}
END_TEST

/* One layer's units are used in each pass, those of the other never. */
START_TEST(test_dense_units_stay)
{
    _cleanup_(expected_use_freep) struct expected_use *uses = NULL;
    uint32_t dense[] = {0, 1, 2};
    struct unit_id unit;

    ck_assert_int_eq(expected_use_new((uint32_t[]){3, 3}, 2, &uses), 0);
    for (uint32_t i = 0; i < 3; i++) {
        expected_use_offer(uses, (struct unit_id){0, i});
        expected_use_offer(uses, (struct unit_id){1, i});
    }
    for (int i = 0; i < 10; i++) {
        expected_use_pass(uses, 0, dense, 3);
        expected_use_pass(uses, 1, NULL, 0);
    }
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert(expected_use_choose(uses, &unit));
        ck_assert_uint_eq(unit.layer, i < 3);
        expected_use_withdraw(uses, unit);
    }
}
END_TEST

START_TEST(test_limits)
{
    static uint32_t n_units[EXPECTED_USE_LAYERS_MAX + 1];
    struct expected_use *uses = NULL;

    ck_assert_int_eq(expected_use_new(n_units, 0, &uses), -EINVAL);
    ck_assert_int_eq(expected_use_new(n_units, EXPECTED_USE_LAYERS_MAX + 1, &uses), -E2BIG);
    n_units[0] = EXPECTED_USE_LAYER_UNITS_MAX + 1;
    ck_assert_int_eq(expected_use_new(n_units, 1, &uses), -E2BIG);
    for (uint32_t i = 0; i < 16; i++)
        n_units[i] = EXPECTED_USE_UNITS_MAX / 16 + (i == 0);
    ck_assert_int_eq(expected_use_new(n_units, 16, &uses), -E2BIG);
    ck_assert_ptr_null(uses);
    n_units[0]--;
    ck_assert_int_eq(expected_use_new(n_units, 16, &uses), 0);
    expected_use_free(uses);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("expected_use");
    TCase *tcase = tcase_create("expected_use");
    tcase_add_test(tcase, test_against_naive);
    tcase_add_test(tcase, test_each_once);
    tcase_add_test(tcase, test_dense_units_stay);
    tcase_add_test(tcase, test_limits);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
