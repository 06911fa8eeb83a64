/* The bitmap of free pages, against a plain array of bools; and the cost of freeing in any order.
 */
#include "daemon/arena/free_pages.h"

#include "daemon/arena/arena.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <check.h>

enum { N_PAGES = 9000 /* more than two words of the summary */ };

struct plain {
    bool is_taken[N_PAGES];
};

static uint64_t top_of(const struct plain *plain)
{
    uint64_t top = N_PAGES;
    while (top > 0 && !plain->is_taken[top - 1])
        top--;
    return top;
}

/* Whether the search for long runs passes over none of them. */
static bool finds_long(struct free_pages *pages)
{
    struct page_run run = {0}, found = {0};
    while (free_pages_next(pages, run.first_page + run.n_pages, &run))
        if (run.n_pages >= FREE_PAGES_LONG) {
            do {
                if (!free_pages_next_long(pages, found.first_page + found.n_pages, &found))
                    return false;
            } while (found.first_page < run.first_page);
            if (found.first_page != run.first_page || found.n_pages != run.n_pages)
                return false;
        }
    return true;
}

/* Whether both have the same runs. */
static bool is_same(struct free_pages *pages, const struct plain *plain)
{
    struct page_run run = {0};
    uint64_t n_runs = 0, top = top_of(plain);
    for (uint64_t page = 0; page < top; page++) {
        if (plain->is_taken[page])
            continue;
        uint64_t end = page;
        while (!plain->is_taken[end])
            end++;
        if (!free_pages_next(pages, run.first_page + run.n_pages, &run) || run.first_page != page ||
            run.n_pages != end - page)
            return false;
        n_runs++;
        page = end;
    }
    return pages->top_page == top && pages->n_runs == n_runs &&
           !free_pages_next(pages, run.first_page + run.n_pages, &run);
}

static void take(struct plain *plain, uint64_t first_page, uint64_t n_pages, bool is_taken)
{
    for (uint64_t i = 0; i < n_pages; i++)
        plain->is_taken[first_page + i] = is_taken;
}

/* Takes a part of a random run, or pages at the top. */
static void take_somewhere(struct free_pages *pages, struct plain *plain, uint64_t n_pages)
{
    struct page_run run;
    uint64_t top = pages->top_page;
    if (random_below(3) > 0 && top > 0 && free_pages_next(pages, random_below(top), &run)) {
        /* It may have begun before. */
        while (run.first_page > 0 && !plain->is_taken[run.first_page - 1]) {
            run.first_page--;
            run.n_pages++;
        }
        n_pages = n_pages < run.n_pages ? n_pages : run.n_pages;
        free_pages_take(pages, &run, n_pages);
        take(plain, run.first_page, n_pages, true);
    } else if (n_pages <= N_PAGES - top) {
        ck_assert_int_eq(free_pages_reserve(pages, top + n_pages), 0);
        free_pages_take_top(pages, n_pages);
        take(plain, top, n_pages, true);
    }
}

static void release_somewhere(struct free_pages *pages, struct plain *plain, uint64_t n_pages)
{
    uint64_t first_page = random_below(N_PAGES), n = 0;
    while (first_page < N_PAGES && !plain->is_taken[first_page])
        first_page++;
    while (n < n_pages && first_page + n < N_PAGES && plain->is_taken[first_page + n])
        n++;
    if (n == 0)
        return;
    free_pages_release(pages, first_page, n);
    take(plain, first_page, n, false);
}

START_TEST(it_is_like_a_plain_array)
{
    static struct plain plain;
    struct free_pages pages = {0};
    bool good = true;
    ck_assert(random_begin());
    for (int i = 0; i < 3000; i++) {
        uint64_t n_pages = 1 + (random_below(4) ? random_below(70) : random_below(2000));
        if (random_below(2))
            take_somewhere(&pages, &plain, n_pages);
        else
            release_somewhere(&pages, &plain, n_pages);
        if (random_below(500) == 0) {
            free_pages_reset(&pages);
            take(&plain, 0, N_PAGES, false);
        }
        good &= i % 10 > 0 || (is_same(&pages, &plain) && finds_long(&pages));
    }
    ck_assert(good && is_same(&pages, &plain));
    free_pages_done(&pages);
}
END_TEST

/* Frees 100,000 single pages in random order: each takes one step, however many holes there are. */
START_TEST(the_order_costs_nothing)
{
    enum { N = 100000 };
    struct arena *arena;
    struct allocation *allocations = calloc(N, sizeof *allocations);
    bool failed = arena_new(N * 4096, 4096, &arena) < 0;
    for (size_t i = 0; i < N; i++)
        failed |= arena_alloc(arena, 1, &allocations[i]) < 0;
    ck_assert(!failed);
    for (size_t i = N - 1; i > 0; i--) {
        size_t other = random_below(i + 1);
        struct allocation swapped = allocations[i];
        allocations[i] = allocations[other];
        allocations[other] = swapped;
    }
    uint64_t before = arena_steps(arena);
    for (size_t i = 0; i < N; i++)
        arena_release(arena, &allocations[i]);
    ck_assert_uint_le(arena_steps(arena) - before, N);
    ck_assert_uint_eq(arena_free_pages(arena), N);
    arena_free(arena);
    free(allocations);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("free-pages");
    TCase *tcase = tcase_create("free-pages");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, it_is_like_a_plain_array);
    tcase_add_test(tcase, the_order_costs_nothing);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
