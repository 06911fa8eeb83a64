/* Only the policies' choice: layers with pages, a list of them by last use, and the victims of each
 * policy. */
#include "daemon/scheduler/policy.h"
#include "tests/unit/run_suite.h"

#include "common/policy_names.h"

#include <check.h>
#include <string.h>

enum { N = 6, CAPACITY = 100 };

struct fixture {
    struct arena *arena;
    struct layer layers[N];
};

/* Resident layers with these numbers of pages, the oldest first. */
static void setup(struct fixture *fixture, const uint64_t pages[static N])
{
    *fixture = (struct fixture){0};
    ck_assert_int_eq(arena_new(CAPACITY, 1, &fixture->arena), 0);
    for (uint32_t i = 0; i < N; i++) {
        struct layer *layer = &fixture->layers[i];
        layer->index = i;
        layer->state = LAYER_RESIDENT;
        layer->older = i > 0 ? layer - 1 : NULL;
        layer->newer = i + 1 < N ? layer + 1 : NULL;
        ck_assert_int_eq(arena_alloc(fixture->arena, pages[i], &layer->allocation), 0);
    }
}

static void teardown(struct fixture *fixture)
{
    for (size_t i = 0; i < N; i++)
        arena_release(fixture->arena, &fixture->layers[i].allocation);
    arena_free(fixture->arena);
}

/* `expected`: the victims' indices as digits. */
static void assert_choice(struct fixture *fixture, const struct policy *policy,
                          uint64_t needed_pages, const char *expected)
{
    struct policy_view view = {
        .arena = fixture->arena, .oldest = &fixture->layers[0], .needed_pages = needed_pages};
    struct victims victims = {0};
    ck_assert_int_eq(policy->choose(&view, &victims), 0);
    ck_assert_uint_eq(victims.n_layers, strlen(expected));
    uint64_t pages = 0;
    for (size_t i = 0; i < victims.n_layers; i++) {
        ck_assert_uint_eq(victims.layers[i]->index, (uint32_t)(expected[i] - '0'));
        pages += victims.layers[i]->allocation.n_pages;
    }
    ck_assert_uint_eq(victims.pages, pages);
    ck_assert_uint_ge(pages, needed_pages);
    victims_done(&victims);
    ck_assert_ptr_null(victims.layers);
    ck_assert_uint_eq(victims.n_layers, 0);
}

START_TEST(test_flush_all)
{
    struct fixture fixture;
    setup(&fixture, (const uint64_t[N]){3, 1, 4, 1, 5, 9});
    assert_choice(&fixture, &policy_flush_all, 1, "012345");
    assert_choice(&fixture, &policy_flush_all, 23, "012345");
    teardown(&fixture);
}
END_TEST

START_TEST(test_lru)
{
    struct fixture fixture;
    setup(&fixture, (const uint64_t[N]){3, 1, 4, 1, 5, 9});
    assert_choice(&fixture, &policy_lru, 1, "0");
    assert_choice(&fixture, &policy_lru, 3, "0");
    /* A single layer that suffices, although older ones together also would. */
    assert_choice(&fixture, &policy_lru, 4, "2");
    assert_choice(&fixture, &policy_lru, 5, "4");
    assert_choice(&fixture, &policy_lru, 9, "5");
    /* No single layer suffices: the oldest, as many as needed. */
    assert_choice(&fixture, &policy_lru, 10, "01234");
    assert_choice(&fixture, &policy_lru, 14, "01234");
    assert_choice(&fixture, &policy_lru, 15, "012345");
    assert_choice(&fixture, &policy_lru, 23, "012345");
    teardown(&fixture);
}
END_TEST

START_TEST(test_lru_equal_layers)
{
    struct fixture fixture;
    setup(&fixture, (const uint64_t[N]){2, 2, 2, 2, 2, 2});
    assert_choice(&fixture, &policy_lru, 2, "0");
    assert_choice(&fixture, &policy_lru, 3, "01");
    assert_choice(&fixture, &policy_lru, 5, "012");
    assert_choice(&fixture, &policy_lru, 12, "012345");
    teardown(&fixture);
}
END_TEST

START_TEST(test_find)
{
    ck_assert_ptr_eq(policy_find("flush-all"), &policy_flush_all);
    ck_assert_ptr_eq(policy_find("lru"), &policy_lru);
    ck_assert_ptr_null(policy_find(""));
    ck_assert_ptr_null(policy_find("LRU"));
    ck_assert_ptr_null(policy_find("flush"));
}
END_TEST

/* The client knows the same policies, in the same order. */
START_TEST(test_names)
{
    char names[256] = "";
    for (size_t i = 0; policies[i]; i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? "|" : "", policies[i]->name);
        ck_assert_ptr_eq(policy_find(policies[i]->name), policies[i]);
    }
    ck_assert_str_eq(names, POLICY_NAMES("|", "|"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *tcase = tcase_create("policy");
    tcase_add_test(tcase, test_flush_all);
    tcase_add_test(tcase, test_lru);
    tcase_add_test(tcase, test_lru_equal_layers);
    tcase_add_test(tcase, test_find);
    tcase_add_test(tcase, test_names);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
