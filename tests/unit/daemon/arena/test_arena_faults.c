/* The arena without memory for lists of extents. */
#include "daemon/arena/arena.h"

#include "tests/unit/failing_allocator.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>

enum { PAGE = 4096, N = 1000 };

static struct arena *arena;
static struct allocation single[2 * N], several;

/* All pages are in use, by allocations of one page. */
static void setup(void)
{
    ck_assert_int_eq(arena_new(2 * N * PAGE, PAGE, &arena), 0);
    for (size_t i = 0; i < 2 * N; i++)
        if (arena_alloc(arena, 1, &single[i]) < 0)
            ck_abort();
}

static void stop(void)
{
    for (size_t i = 0; i < 2 * N; i++)
        arena_release(arena, &single[i]);
    arena_release(arena, &several);
    arena_free(arena);
}

static void release_every_second(void)
{
    for (size_t i = 0; i < 2 * N; i += 2)
        arena_release(arena, &single[i]);
}

static int alloc_with_failure(uint64_t n)
{
    allocations_until_failure = n;
    may_fail = 1;
    int r = arena_alloc(arena, N, &several);
    may_fail = 0;
    return r;
}

/* The one list of all extents is got before, although none of them is free yet. Only when it is
 * shortened, memory is asked for again, in vain. */
START_TEST(what_is_prepared_cannot_fail)
{
    ck_assert_int_eq(arena_prepare(arena, 2 * N), 0);
    release_every_second();
    ck_assert_int_eq(alloc_with_failure(1), 0);
    ck_assert_uint_eq(allocations_until_failure, 0);
    ck_assert_uint_eq(allocation_n_extents(&several), N);
    for (size_t i = 0; i < N; i++)
        if (allocation_extents(&several)[i].first_page != 2 * i)
            ck_abort();
}
END_TEST

START_TEST(a_failure_changes_nothing)
{
    struct arena_stats before, after;
    release_every_second();
    arena_get_stats(arena, &before);
    ck_assert_int_eq(alloc_with_failure(1), -ENOMEM);
    arena_get_stats(arena, &after);
    ck_assert_mem_eq(&before, &after, sizeof before);
    ck_assert_int_eq(arena_alloc(arena, N, &several), 0);
}
END_TEST

/* All lists that the claims need, or none. */
START_TEST(a_failed_restoration_changes_nothing)
{
    struct arena *other;
    struct allocation a = {0}, b = {0};
    const struct claim claims[] = {{0, 1, &a}, {1, 1, &b}, {3, 1, &a}, {4, 1, &b}};
    ck_assert_int_eq(arena_new(10 * PAGE, PAGE, &other), 0);
    for (uint64_t n = 1; n <= 3; n++) {
        allocations_until_failure = n;
        may_fail = 1;
        int r = arena_restore(other, claims, 4, 10);
        may_fail = 0;
        ck_assert_int_eq(r, n <= 2 ? -ENOMEM : 0);
        if (r == 0)
            break;
        ck_assert_uint_eq(arena_free_pages(other), 10);
        ck_assert(a.n_pages == 0 && !a.several && b.n_pages == 0 && !b.several);
    }
    arena_release(other, &a);
    arena_release(other, &b);
    arena_free(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena-faults");
    TCase *tcase = tcase_create("arena-faults");
    tcase_add_checked_fixture(tcase, setup, stop);
    tcase_add_test(tcase, what_is_prepared_cannot_fail);
    tcase_add_test(tcase, a_failure_changes_nothing);
    tcase_add_test(tcase, a_failed_restoration_changes_nothing);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
