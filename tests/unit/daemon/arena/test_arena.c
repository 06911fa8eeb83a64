/* The arena: placement in one extent, at the top and in several, coalescing, generations, and the
 * number of steps of each. */
#include "daemon/arena/arena.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>

enum { PAGE = 4096 };

static struct arena *new_arena(uint64_t n_pages)
{
    struct arena *arena = NULL;
    ck_assert_int_eq(arena_new(n_pages * PAGE, PAGE, &arena), 0);
    return arena;
}

static void alloc(struct arena *arena, uint64_t n_pages, struct allocation *allocation)
{
    ck_assert_int_eq(arena_alloc(arena, n_pages, allocation), 0);
    ck_assert(arena_holds(arena, allocation));
    ck_assert_uint_eq(allocation->n_pages, n_pages);
}

/* Its extent number `i`. */
static void assert_extent(const struct allocation *allocation, size_t i, uint64_t first_page,
                          uint64_t n_pages)
{
    ck_assert_uint_lt(i, allocation_n_extents(allocation));
    const struct extent *extent = allocation_extents(allocation) + i;
    ck_assert_uint_eq(extent->first_page, first_page);
    ck_assert_uint_eq(extent->n_pages, n_pages);
}

static void assert_stats(const struct arena *arena, uint64_t used, uint64_t largest,
                         uint64_t n_extents, uint64_t high_water)
{
    struct arena_stats stats;
    arena_get_stats(arena, &stats);
    ck_assert_uint_eq(stats.capacity_pages, arena_capacity_pages(arena));
    ck_assert_uint_eq(stats.used_pages, used);
    ck_assert_uint_eq(stats.free_pages, stats.capacity_pages - used);
    ck_assert_uint_eq(arena_free_pages(arena), stats.free_pages);
    ck_assert_uint_eq(stats.largest_free_pages, largest);
    ck_assert_uint_eq(stats.n_extents, n_extents);
    ck_assert_uint_eq(stats.high_water_pages, high_water);
    ck_assert_uint_eq(arena_high_water_pages(arena), high_water);
}

static void release_all(struct arena *arena, struct allocation *allocations, size_t n)
{
    for (size_t i = 0; i < n; i++)
        arena_release(arena, &allocations[i]);
}

START_TEST(test_new)
{
    struct arena *arena = NULL;
    ck_assert_int_eq(arena_new(0, PAGE, &arena), -EINVAL);
    ck_assert_int_eq(arena_new(PAGE - 1, PAGE, &arena), -EINVAL);
    ck_assert_int_eq(arena_new(PAGE, 0, &arena), -EINVAL);
    ck_assert_int_eq(arena_new(PAGE, PAGE - 1, &arena), -EINVAL);
    ck_assert_ptr_null(arena);

    ck_assert_int_eq(arena_new(3 * PAGE - 1, PAGE, &arena), 0);
    ck_assert_uint_eq(arena_page_bytes(arena), PAGE);
    ck_assert_uint_eq(arena_capacity_pages(arena), 2);
    assert_stats(arena, 0, 2, 0, 0);
    arena_free(arena);

    ck_assert_int_eq(arena_new(UINT64_MAX, 1 << 21, &arena), 0);
    ck_assert_uint_eq(arena_capacity_pages(arena), UINT64_MAX >> 21);
    ck_assert_ptr_null(arena_free(arena));
    ck_assert_ptr_null(arena_free(NULL));
}
END_TEST

START_TEST(test_footprint)
{
    static const struct {
        uint64_t bytes, shift_bytes, n_pages;
    } good[] = {
        {1, 0, 1},
        {PAGE, 0, 1},
        {PAGE + 1, 0, 2},
        {PAGE, 1, 2},
        {1, PAGE - 1, 1},
        {2, PAGE - 1, 2},
        {UINT64_MAX - PAGE + 1, 0, UINT64_MAX / PAGE},
        {UINT64_MAX - PAGE, 1, UINT64_MAX / PAGE},
    };
    struct arena *arena = new_arena(1);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t n_pages;
        ck_assert_int_eq(arena_footprint(arena, good[i].bytes, good[i].shift_bytes, &n_pages), 0);
        ck_assert_uint_eq(n_pages, good[i].n_pages);
    }
    uint64_t untouched = 7;
    ck_assert_int_eq(arena_footprint(arena, UINT64_MAX - PAGE + 2, 0, &untouched), -EOVERFLOW);
    ck_assert_int_eq(arena_footprint(arena, UINT64_MAX, 0, &untouched), -EOVERFLOW);
    ck_assert_int_eq(arena_footprint(arena, UINT64_MAX, 1, &untouched), -EOVERFLOW);
    ck_assert_uint_eq(untouched, 7);
    arena_free(arena);
}
END_TEST

START_TEST(test_linear)
{
    struct arena *arena = new_arena(10);
    struct allocation allocations[4] = {0};
    ck_assert(!arena_holds(arena, &allocations[0]));
    alloc(arena, 3, &allocations[0]);
    alloc(arena, 4, &allocations[1]);
    alloc(arena, 3, &allocations[2]);
    assert_extent(&allocations[0], 0, 0, 3);
    assert_extent(&allocations[1], 0, 3, 4);
    assert_extent(&allocations[2], 0, 7, 3);
    assert_stats(arena, 10, 0, 3, 10);

    ck_assert_int_eq(arena_alloc(arena, 1, &allocations[3]), -ENOSPC);
    ck_assert_int_eq(arena_alloc(arena, UINT64_MAX, &allocations[3]), -ENOSPC);
    ck_assert(!arena_holds(arena, &allocations[3]));
    assert_stats(arena, 10, 0, 3, 10);

    /* The top moves down, also over pages below it that were freed before, and the high-water mark
     * stays. */
    arena_release(arena, &allocations[1]);
    assert_stats(arena, 6, 4, 2, 10);
    arena_release(arena, &allocations[2]);
    assert_stats(arena, 3, 7, 1, 10);
    alloc(arena, 7, &allocations[1]);
    assert_extent(&allocations[1], 0, 3, 7);
    ck_assert_uint_eq(allocation_n_extents(&allocations[1]), 1);
    release_all(arena, allocations, 4);
    assert_stats(arena, 0, 10, 0, 10);
    arena_free(arena);
}
END_TEST

START_TEST(test_best_fit)
{
    /* Holes of 4, 2, 3 and 2 pages, one used page after each, and 5 pages at the top. */
    struct arena *arena = new_arena(20);
    static const uint64_t sizes[] = {4, 1, 2, 1, 3, 1, 2, 1};
    struct allocation allocations[8] = {0}, a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < 8; i++)
        alloc(arena, sizes[i], &allocations[i]);
    for (size_t i = 0; i < 8; i += 2)
        arena_release(arena, &allocations[i]);
    assert_stats(arena, 4, 5, 4, 15);

    alloc(arena, 1, &b); /* the first of the two smallest that hold it, its front */
    assert_extent(&b, 0, 5, 1);
    arena_release(arena, &b);
    alloc(arena, 2, &a); /* the first of the two that fit exactly */
    assert_extent(&a, 0, 5, 2);
    alloc(arena, 1, &b); /* the smallest that is left */
    assert_extent(&b, 0, 12, 1);
    alloc(arena, 3, &c);
    assert_extent(&c, 0, 8, 3);
    alloc(arena, 5, &d); /* no hole: the top */
    assert_extent(&d, 0, 15, 5);
    assert_stats(arena, 15, 4, 8, 20);

    release_all(arena, allocations, 8);
    arena_release(arena, &d);
    arena_release(arena, &b);
    arena_release(arena, &c);
    arena_release(arena, &a);
    assert_stats(arena, 0, 20, 0, 20);
    arena_free(arena);
}
END_TEST

START_TEST(test_several_extents)
{
    /* Free: 0-1, 3-5, 7, and 9 at the top. */
    struct arena *arena = new_arena(10);
    static const uint64_t sizes[] = {2, 1, 3, 1, 1, 1};
    struct allocation allocations[6] = {0}, split = {0};
    for (size_t i = 0; i < 6; i++)
        alloc(arena, sizes[i], &allocations[i]);
    for (size_t i = 0; i < 6; i += 2)
        arena_release(arena, &allocations[i]);
    assert_stats(arena, 3, 3, 3, 9);

    /* Whole, and the last in part. */
    alloc(arena, 4, &split);
    assert_extent(&split, 0, 0, 2);
    assert_extent(&split, 1, 3, 2);
    ck_assert_uint_eq(allocation_n_extents(&split), 2);
    assert_stats(arena, 7, 1, 5, 9);
    arena_release(arena, &split);
    assert_stats(arena, 3, 3, 3, 9);

    /* Whole only. */
    alloc(arena, 5, &split);
    assert_extent(&split, 1, 3, 3);
    ck_assert_uint_eq(allocation_n_extents(&split), 2);
    arena_release(arena, &split);

    /* Everything, the top last. */
    alloc(arena, 7, &split);
    assert_extent(&split, 0, 0, 2);
    assert_extent(&split, 1, 3, 3);
    assert_extent(&split, 2, 7, 1);
    assert_extent(&split, 3, 9, 1);
    ck_assert_uint_eq(allocation_n_extents(&split), 4);
    assert_stats(arena, 10, 0, 7, 10);

    /* Each of its extents coalesces with its neighbours. */
    release_all(arena, allocations, 6);
    assert_stats(arena, 7, 1, 4, 10);
    arena_release(arena, &split);
    assert_stats(arena, 0, 10, 0, 10);
    alloc(arena, 10, &split);
    assert_extent(&split, 0, 0, 10);
    arena_release(arena, &split);
    arena_free(arena);
}
END_TEST

/* Three neighbours that are released in any order leave one extent, below a page that stays. */
START_TEST(test_coalescing)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < 6; i++) {
        struct arena *arena = new_arena(10);
        struct allocation allocations[4] = {0};
        for (size_t n = 0; n < 4; n++)
            alloc(arena, 2, &allocations[n]);
        for (size_t n = 0; n < 3; n++)
            arena_release(arena, &allocations[orders[i][n]]);
        assert_stats(arena, 2, 6, 1, 8);
        arena_release(arena, &allocations[3]);
        assert_stats(arena, 0, 10, 0, 8);
        arena_free(arena);
    }
}
END_TEST

START_TEST(test_reset)
{
    struct arena *arena = new_arena(10);
    struct allocation allocations[3] = {0}, other = {0};
    for (size_t i = 0; i < 3; i++)
        alloc(arena, 3, &allocations[i]);
    arena_release(arena, &allocations[1]);
    arena_reset(arena);
    assert_stats(arena, 0, 10, 0, 9);
    for (size_t i = 0; i < 3; i++)
        ck_assert(!arena_holds(arena, &allocations[i]));

    /* Releasing an older generation's allocation frees no page of this one's. */
    alloc(arena, 10, &other);
    arena_release(arena, &allocations[0]);
    arena_release(arena, &allocations[0]);
    assert_stats(arena, 10, 0, 1, 10);
    ck_assert(arena_holds(arena, &other));

    /* After a refusal the allocation of an older generation is still absent. */
    ck_assert_int_eq(arena_alloc(arena, 1, &allocations[2]), -ENOSPC);
    ck_assert(!arena_holds(arena, &allocations[2]));
    arena_release(arena, &other);
    alloc(arena, 2, &allocations[2]);
    assert_extent(&allocations[2], 0, 0, 2);

    arena_reset(arena);
    arena_reset(arena);
    assert_stats(arena, 0, 10, 0, 10);
    release_all(arena, allocations, 3);
    arena_free(arena);
}
END_TEST

/* Steps of a reset with `n` allocations in use and as many free extents between them. */
static uint64_t reset_steps(uint64_t n)
{
    struct arena *arena = new_arena(2 * n);
    struct allocation *kept = calloc(n, sizeof *kept), *holes = calloc(n, sizeof *holes);
    ck_assert(kept && holes);
    bool failed = false; /* one assertion for all: assertions are slow */
    for (uint64_t i = 0; i < n; i++)
        failed |= arena_alloc(arena, 1, &holes[i]) < 0 || arena_alloc(arena, 1, &kept[i]) < 0;
    ck_assert(!failed);
    for (uint64_t i = n; i > 0; i--) /* downwards: each goes to the free list's front */
        arena_release(arena, &holes[i - 1]);
    assert_stats(arena, n, 1, n, 2 * n);

    uint64_t before = arena_steps(arena);
    arena_reset(arena);
    uint64_t steps = arena_steps(arena) - before;

    /* Their owners have no pages to release. */
    before = arena_steps(arena);
    release_all(arena, kept, n);
    ck_assert_uint_eq(arena_steps(arena) - before, 0);
    arena_free(arena);
    free(kept);
    free(holes);
    return steps;
}

START_TEST(test_reset_steps)
{
    ck_assert_uint_eq(reset_steps(10), reset_steps(100000));
}
END_TEST

/* Allocating, resetting and allocating again. This can only show leaks and, with a
 * sanitizer, use after free. The steps show that only what is taken is visited: no hole by hole
 * search for one that suffices, where none is long. */
START_TEST(test_several_steps)
{
    enum { N = 1000 };
    struct arena *arena = new_arena(2 * N);
    struct allocation allocations[2 * N] = {0}, all = {0};
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2 * N; i++)
            alloc(arena, 1, &allocations[i]);
        for (size_t i = 2 * N; i > 0; i -= 2)
            arena_release(arena, &allocations[i - 2]);

        uint64_t before = arena_steps(arena);
        alloc(arena, N, &all);
        ck_assert_uint_le(arena_steps(arena) - before, N + N / 16);
        assert_stats(arena, 2 * N, 0, 2 * N, 2 * N);

        before = arena_steps(arena);
        arena_release(arena, &all);
        ck_assert_uint_eq(arena_steps(arena) - before, N);
        assert_stats(arena, N, 1, N, 2 * N);
        alloc(arena, N, &all);
        arena_reset(arena);
        arena_release(arena, &all);
    }
    release_all(arena, allocations, 2 * N);
    arena_free(arena);
}
END_TEST

START_TEST(test_prepare)
{
    struct arena *arena = new_arena(4);
    struct allocation allocation = {0};
    ck_assert_int_eq(arena_prepare(arena, 4), 0);
    ck_assert_int_eq(arena_prepare(arena, 4), 0);
    assert_stats(arena, 0, 4, 0, 0);
    alloc(arena, 4, &allocation);
    ck_assert_int_eq(arena_prepare(arena, 4), 0);
    arena_release(arena, &allocation);
    arena_free(arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, test_new);
    tcase_add_test(tcase, test_footprint);
    tcase_add_test(tcase, test_linear);
    tcase_add_test(tcase, test_best_fit);
    tcase_add_test(tcase, test_several_extents);
    tcase_add_test(tcase, test_coalescing);
    tcase_add_test(tcase, test_reset);
    tcase_add_test(tcase, test_reset_steps);
    tcase_add_test(tcase, test_several_steps);
    tcase_add_test(tcase, test_prepare);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
