/* The arena of a process that continues after another: allocations are in the same place, free
 * pages are found again, and from then on both make the same decisions. */
#include "daemon/arena/arena.h"

#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <string.h>

enum { PAGE = 4096 };

static struct arena *new_arena(uint64_t n_pages)
{
    struct arena *arena = NULL;
    ck_assert_int_eq(arena_new(n_pages * PAGE, PAGE, &arena), 0);
    return arena;
}

static void assert_stats(const struct arena *arena, uint64_t used, uint64_t largest,
                         uint64_t n_extents, uint64_t high_water)
{
    struct arena_stats stats;
    arena_get_stats(arena, &stats);
    ck_assert_uint_eq(stats.used_pages, used);
    ck_assert_uint_eq(stats.free_pages, arena_capacity_pages(arena) - used);
    ck_assert_uint_eq(arena_free_pages(arena), stats.free_pages);
    ck_assert_uint_eq(stats.largest_free_pages, largest);
    ck_assert_uint_eq(stats.n_extents, n_extents);
    ck_assert_uint_eq(stats.high_water_pages, high_water);
    ck_assert_uint_eq(arena_high_water_pages(arena), high_water);
}

/* The extents of an allocation, and nothing after them. */
static void assert_extents(const struct allocation *allocation, size_t n,
                           const uint64_t (*expected)[2])
{
    const struct extent *extent = allocation_extents(allocation);
    uint64_t n_pages = 0;
    ck_assert_uint_eq(allocation_n_extents(allocation), n);
    for (size_t i = 0; i < n; i++, extent++) {
        ck_assert_uint_eq(extent->first_page, expected[i][0]);
        ck_assert_uint_eq(extent->n_pages, expected[i][1]);
        n_pages += expected[i][1];
    }
    ck_assert_uint_eq(allocation->n_pages, n_pages);
}
#define ASSERT_EXTENTS(allocation, ...)                                                          \
    assert_extents(allocation, sizeof((const uint64_t[][2]){__VA_ARGS__}) / sizeof(uint64_t[2]), \
                   (const uint64_t[][2]){__VA_ARGS__})

START_TEST(nothing_is_restored)
{
    struct arena *arena = new_arena(10);
    struct allocation allocation = {0};
    ck_assert_int_eq(arena_restore(arena, NULL, 0, 0), 0);
    assert_stats(arena, 0, 10, 0, 0);
    ck_assert_int_eq(arena_restore(arena, NULL, 0, 7), 0);
    assert_stats(arena, 0, 10, 0, 7);
    ck_assert_int_eq(arena_alloc(arena, 10, &allocation), 0);
    ASSERT_EXTENTS(&allocation, {0, 10});
    arena_release(arena, &allocation);
    arena_free(arena);
}
END_TEST

/* Free before, between and after; `b` and `c` touch. */
START_TEST(gaps_are_free)
{
    struct arena *arena = new_arena(30);
    struct allocation a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0};
    const struct claim claims[] = {{3, 4, &a}, {12, 1, &b}, {13, 2, &c}};
    ck_assert_int_eq(arena_restore(arena, claims, 3, 20), 0);
    ASSERT_EXTENTS(&a, {3, 4});
    ASSERT_EXTENTS(&b, {12, 1});
    ASSERT_EXTENTS(&c, {13, 2});
    ck_assert(arena_holds(arena, &a) && arena_holds(arena, &b) && arena_holds(arena, &c));
    assert_stats(arena, 7, 15, 3, 20);

    /* Best fit, then the top, which begins behind the last one, and not at the mark. */
    ck_assert_int_eq(arena_alloc(arena, 2, &d), 0);
    ASSERT_EXTENTS(&d, {0, 2});
    ck_assert_int_eq(arena_alloc(arena, 6, &e), 0);
    ASSERT_EXTENTS(&e, {15, 6});
    assert_stats(arena, 15, 9, 5, 21);
    ck_assert_int_eq(arena_alloc(arena, 15, &f), 0);
    ASSERT_EXTENTS(&f, {2, 1}, {7, 5}, {21, 9});
    assert_stats(arena, 30, 0, 8, 30);

    /* Released pages coalesce with the free pages between the claims. */
    arena_release(arena, &f);
    arena_release(arena, &b);
    assert_stats(arena, 14, 9, 4, 30);
    arena_release(arena, &c);
    arena_release(arena, &e);
    assert_stats(arena, 6, 23, 2, 30);
    arena_release(arena, &a);
    arena_release(arena, &d);
    assert_stats(arena, 0, 30, 0, 30);
    arena_free(arena);
}
END_TEST

/* Two allocations in each other's gaps; one of them has the first and the last page of the
 * arena. */
START_TEST(an_allocation_has_several_extents)
{
    struct arena *arena = new_arena(12);
    struct allocation a = {0}, b = {0}, c = {0};
    const struct claim claims[] = {{0, 1, &a}, {1, 2, &b}, {4, 2, &a},
                                   {6, 1, &b}, {8, 1, &b}, {10, 2, &a}};
    ck_assert_int_eq(arena_restore(arena, claims, 6, 12), 0);
    ASSERT_EXTENTS(&a, {0, 1}, {4, 2}, {10, 2});
    ASSERT_EXTENTS(&b, {1, 2}, {6, 1}, {8, 1});
    assert_stats(arena, 9, 1, 6, 12);
    ck_assert_int_eq(arena_alloc(arena, 4, &c), -ENOSPC);
    ck_assert_int_eq(arena_alloc(arena, 3, &c), 0);
    ASSERT_EXTENTS(&c, {3, 1}, {7, 1}, {9, 1});

    arena_release(arena, &a);
    assert_stats(arena, 7, 2, 6, 12);
    arena_release(arena, &c);
    assert_stats(arena, 4, 3, 3, 12);
    arena_release(arena, &b);
    assert_stats(arena, 0, 12, 0, 12);
    arena_free(arena);
}
END_TEST

START_TEST(a_full_arena)
{
    struct arena *arena = new_arena(6);
    struct allocation a = {0}, b = {0}, c = {0};
    const struct claim claims[] = {{0, 5, &a}, {5, 1, &b}};
    ck_assert_int_eq(arena_restore(arena, claims, 2, 6), 0);
    assert_stats(arena, 6, 0, 2, 6);
    ck_assert_int_eq(arena_alloc(arena, 1, &c), -ENOSPC);
    arena_release(arena, &a);
    ck_assert_int_eq(arena_alloc(arena, 5, &c), 0);
    ASSERT_EXTENTS(&c, {0, 5});
    arena_release(arena, &b);
    arena_release(arena, &c);
    assert_stats(arena, 0, 6, 0, 6);
    arena_free(arena);
}
END_TEST

START_TEST(a_reset_lets_go_of_it)
{
    struct arena *arena = new_arena(10);
    struct allocation a = {0}, b = {0}, c = {0};
    const struct claim claims[] = {{1, 2, &a}, {5, 2, &a}, {8, 1, &b}};
    ck_assert_int_eq(arena_restore(arena, claims, 3, 9), 0);
    arena_reset(arena);
    ck_assert(!arena_holds(arena, &a) && !arena_holds(arena, &b));
    assert_stats(arena, 0, 10, 0, 9);
    ck_assert_int_eq(arena_alloc(arena, 10, &c), 0);
    ASSERT_EXTENTS(&c, {0, 10});
    arena_release(arena, &a);
    arena_release(arena, &b);
    assert_stats(arena, 10, 0, 1, 10);
    arena_release(arena, &c);
    arena_free(arena);
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
    static const struct {
        uint64_t claims[3][2];
        size_t n_claims;
        uint64_t high_water_pages;
    } cases[] = {
        {{{0, 0}}, 1, 10},                          /* nothing */
        {{{0, 2}, {4, 0}, {6, 1}}, 3, 10},          /* nothing between others */
        {{{0, 4}, {3, 2}}, 2, 10},                  /* overlap by one page */
        {{{2, 3}, {2, 3}}, 2, 10},                  /* the same place twice */
        {{{0, 9}, {4, 1}}, 2, 10},                  /* one inside the other */
        {{{5, 1}, {3, 1}}, 2, 10},                  /* out of order */
        {{{0, 11}}, 1, 10},                         /* out of bounds */
        {{{10, 1}}, 1, 10},                         /* begins at the end */
        {{{8, 3}}, 1, 10},                          /* over the end */
        {{{0, 1}, {8, 2}}, 2, 9},                   /* above the mark */
        {{{0, 1}}, 1, 11},                          /* a mark out of bounds */
        {{{0, 0}}, 0, 11},                          /* the same, and nothing else */
        {{{0, 0}}, 0, UINT64_MAX},                  /* the same */
        {{{1, UINT64_MAX}}, 1, 10},                 /* no such number */
        {{{UINT64_MAX, 1}}, 1, 10},                 /* the same */
        {{{0, 1}, {1, UINT64_MAX}, {0, 1}}, 3, 10}, /* which comes around to where others begin */
        {{{UINT64_MAX / PAGE, UINT64_MAX}}, 1, 10}, /* the same */
    };
    struct arena *arena = new_arena(10);
    struct allocation allocations[3] = {0};
    struct claim claims[3];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t k = 0; k < 3; k++)
            claims[k] =
                (struct claim){cases[i].claims[k][0], cases[i].claims[k][1], &allocations[k]};
        int r = arena_restore(arena, claims, cases[i].n_claims, cases[i].high_water_pages);
        ck_assert_msg(r == -EINVAL, "case %zu: %d", i, r);
        assert_stats(arena, 0, 10, 0, 0);
        for (size_t k = 0; k < 3; k++) {
            ck_assert(!arena_holds(arena, &allocations[k]));
            ck_assert_ptr_null(allocations[k].several);
            ck_assert_uint_eq(allocations[k].n_pages, 0);
        }
    }
    /* It works like a new one. */
    claims[0] = (struct claim){0, 3, &allocations[0]};
    claims[1] = (struct claim){9, 1, &allocations[1]};
    ck_assert_int_eq(arena_restore(arena, claims, 2, 10), 0);
    ASSERT_EXTENTS(&allocations[0], {0, 3});
    ASSERT_EXTENTS(&allocations[1], {9, 1});
    assert_stats(arena, 4, 6, 2, 10);
    for (size_t k = 0; k < 3; k++)
        arena_release(arena, &allocations[k]);
    arena_free(arena);
}
END_TEST

/* One visit for each extent of the claims, whatever else there is. */
START_TEST(it_takes_no_longer_than_there_are_claims)
{
    enum { N = 1000 };
    struct arena *arena = new_arena(2 * N);
    static struct allocation allocations[N];
    static struct claim claims[N];
    for (size_t i = 0; i < N; i++)
        claims[i] = (struct claim){2 * i + 1, 1, &allocations[i]};
    ck_assert_int_eq(arena_restore(arena, claims, N, 2 * N), 0);
    ck_assert_uint_le(arena_steps(arena), N);
    assert_stats(arena, N, 1, N, 2 * N);
    for (size_t i = 0; i < N; i++)
        arena_release(arena, &allocations[i]);
    assert_stats(arena, 0, 2 * N, 0, 2 * N);
    arena_free(arena);
}
END_TEST

enum { N_PAGES = 200, N_ALLOCATIONS = 24, N_ROUNDS = 300, N_STEPS = 60 };

/* Both have the same allocations in the same places, and no page twice. */
static void assert_alike(const struct arena *a, const struct arena *b,
                         const struct allocation *left, const struct allocation *right)
{
    unsigned owners[N_PAGES] = {0};
    bool differ = false, overlap = false;
    uint64_t used = 0;
    struct arena_stats x, y;
    arena_get_stats(a, &x);
    arena_get_stats(b, &y);
    differ |= memcmp(&x, &y, sizeof x) != 0;
    for (size_t i = 0; i < N_ALLOCATIONS; i++) {
        const struct extent *l = allocation_extents(&left[i]), *r = allocation_extents(&right[i]);
        const struct extent *l_end = allocation_end(&left[i]), *r_end = allocation_end(&right[i]);
        bool holds = arena_holds(a, &left[i]);
        differ |= holds != arena_holds(b, &right[i]);
        for (; holds && l < l_end && r < r_end; l++, r++) {
            differ |= l->first_page != r->first_page || l->n_pages != r->n_pages;
            for (uint64_t page = r->first_page; page < r->first_page + r->n_pages; page++) {
                overlap |= page >= N_PAGES || owners[page]++ > 0;
                used++;
            }
        }
        differ |= holds && (l < l_end || r < r_end || left[i].n_pages != right[i].n_pages);
    }
    /* One assertion for all, because an assertion is slower than the check. */
    ck_assert(!differ && !overlap && used == y.used_pages);
}

static int compare_claims(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    return (x->first_page > y->first_page) - (x->first_page < y->first_page);
}

static size_t claim_all(const struct arena *arena, const struct allocation *from,
                        struct allocation *to, struct claim *claims)
{
    size_t n = 0;
    for (size_t i = 0; i < N_ALLOCATIONS; i++)
        for (const struct extent *extent = allocation_extents(&from[i]);
             arena_holds(arena, &from[i]) && extent < allocation_end(&from[i]); extent++)
            claims[n++] = (struct claim){extent->first_page, extent->n_pages, &to[i]};
    qsort(claims, n, sizeof *claims, compare_claims);
    return n;
}

/* The same step for both; `b` may be NULL. */
static void step(struct arena *a, struct arena *b, struct allocation *left,
                 struct allocation *right)
{
    uint64_t i = random_below(N_ALLOCATIONS), n_pages = random_below(40) + 1;
    if (random_below(50) == 0) {
        arena_reset(a);
        if (b)
            arena_reset(b);
    } else if (arena_holds(a, &left[i])) {
        arena_release(a, &left[i]);
        if (b)
            arena_release(b, &right[i]);
    } else {
        int r = arena_alloc(a, n_pages, &left[i]);
        ck_assert(!b || arena_alloc(b, n_pages, &right[i]) == r);
    }
}

START_TEST(it_goes_on_as_the_one_before)
{
    ck_assert(random_begin());
    static struct claim claims[N_PAGES];
    size_t n_split = 0;
    for (int round = 0; round < N_ROUNDS; round++) {
        struct arena *a = new_arena(N_PAGES), *b = new_arena(N_PAGES);
        struct allocation left[N_ALLOCATIONS] = {0}, right[N_ALLOCATIONS] = {0};
        for (uint64_t n = random_below(2 * N_STEPS); n > 0; n--)
            step(a, NULL, left, NULL);
        size_t n_claims = claim_all(a, left, right, claims);
        ck_assert_int_eq(arena_restore(b, claims, n_claims, arena_high_water_pages(a)), 0);
        assert_alike(a, b, left, right);
        for (size_t i = 0; i < N_ALLOCATIONS; i++)
            n_split += allocation_n_extents(&right[i]) > 1;
        for (int n = 0; n < N_STEPS; n++) {
            step(a, b, left, right);
            assert_alike(a, b, left, right);
        }
        for (size_t i = 0; i < N_ALLOCATIONS; i++) {
            arena_release(a, &left[i]);
            arena_release(b, &right[i]);
        }
        assert_alike(a, b, left, right);
        ck_assert_uint_eq(arena_free_pages(b), N_PAGES);
        arena_free(a);
        arena_free(b);
    }
    ck_assert_uint_gt(n_split, N_ROUNDS / 10); /* otherwise the test would prove little */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena-restore");
    TCase *tcase = tcase_create("arena-restore");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, nothing_is_restored);
    tcase_add_test(tcase, gaps_are_free);
    tcase_add_test(tcase, an_allocation_has_several_extents);
    tcase_add_test(tcase, a_full_arena);
    tcase_add_test(tcase, a_reset_lets_go_of_it);
    tcase_add_test(tcase, what_cannot_be_is_refused);
    tcase_add_test(tcase, it_takes_no_longer_than_there_are_claims);
    tcase_add_test(tcase, it_goes_on_as_the_one_before);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
