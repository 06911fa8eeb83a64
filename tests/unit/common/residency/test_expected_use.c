/* The choice against a naive one that computes every unit's distance from the formula. */
#include "common/residency/expected_use.h"
#include "tests/unit/case_step.h"
#include "tests/unit/naive_expected_use.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <string.h>

struct naive naive;

static void assert_choice(struct expected_use *uses)
{
    struct unit_id unit;
    double furthest = naive_furthest();

    ck_assert_int_eq(expected_use_choose(uses, &unit), furthest >= 0);
    if (furthest < 0)
        return;
    ck_assert(naive.offered[unit.layer][unit.index]);
    ck_assert_double_eq_tol(naive_distance(unit), furthest, furthest * 1e-4 + 1e-5);
    ck_assert_double_eq_tol(expected_use_furthest(uses, &unit), furthest, furthest * 1e-4 + 1e-5);
}

/* Takes a copy's place. */
static void replace_by_copy(struct expected_use **uses)
{
    struct expected_use *copy;

    ck_assert_int_eq(expected_use_copy(*uses, &copy), 0);
    expected_use_free(*uses);
    *uses = copy;
}

static void change_at_random(struct expected_use **uses)
{
    uint64_t choice = random_below(100);

    if (choice == 0) {
        expected_use_withdraw_all(*uses);
        memset(naive.offered, 0, sizeof naive.offered);
    } else if (choice == 1) {
        replace_by_copy(uses);
    } else if (choice < 10) {
        naive.at = (uint32_t)random_below(naive.n_layers);
        expected_use_enter(*uses, naive.at);
    }
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
            change_at_random(&uses);
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

START_TEST(test_frequency)
{
    _cleanup_(expected_use_freep) struct expected_use *uses = NULL;
    uint32_t always[] = {0}, both[] = {0, 1}, other[] = {2};

    ck_assert_int_eq(expected_use_new((uint32_t[]){3, 1}, 2, &uses), 0);
    ck_assert_double_lt(expected_use_frequency(uses, (struct unit_id){0, 0}), 0);
    expected_use_pass(uses, 0, other, 1);
    ck_assert_double_eq_tol(expected_use_frequency(uses, (struct unit_id){0, 2}), 1, 1e-4);
    for (int i = 0; i < 2000; i++)
        expected_use_pass(uses, 0, i % 2 ? both : always, i % 2 ? 2 : 1);
    ck_assert_double_eq_tol(expected_use_frequency(uses, (struct unit_id){0, 0}), 1, 1e-3);
    ck_assert_double_eq_tol(expected_use_frequency(uses, (struct unit_id){0, 1}), 0.5, 0.05);
    ck_assert_double_eq_tol(expected_use_frequency(uses, (struct unit_id){0, 2}), 0, 1e-3);
    ck_assert_double_lt(expected_use_frequency(uses, (struct unit_id){1, 0}), 0);
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
    tcase_add_test(tcase, test_frequency);
    tcase_add_test(tcase, test_limits);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
