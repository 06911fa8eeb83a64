/* Owns the pages' bookkeeping: which runs of free pages an allocation gets, and the lists of the
 * extents of allocations.
 *
 * Invariants: the free pages and the pages in use add up to the capacity. After arena_prepare the
 * spare list has room for each extent that the next allocation can have, even if every extent in
 * use becomes a run of free pages before: neither a release nor a reset makes them more. A list is
 * the spare one or belongs to an allocation, which may be of an older generation.
 *
 * Leaves to others: which pages are free (free_pages), the memory itself (backing), which layer
 * owns an allocation (scheduler). */
#include "daemon/arena/arena.h"

#include "daemon/arena/free_pages.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct arena {
    uint64_t page_bytes, capacity_pages;
    struct free_pages free; /* the capacity ends its top */
    uint64_t used_pages, high_water_pages, n_extents;
    uint64_t generation;       /* from 1 */
    uint64_t steps;            /* extents that were released or restored */
    struct extent_list *spare; /* for the next allocation; NULL: none */
    uint64_t n_spare;          /* extents that it has room for */
    uint64_t largest_pages;    /* of the runs below the top; 0: not known */
};

uint64_t arena_simulated_page_bytes(uint64_t capacity_bytes, uint64_t page_bytes)
{
    while (capacity_bytes / page_bytes >= UINT64_C(1) << 27)
        page_bytes *= 2;
    return page_bytes;
}

int arena_new(uint64_t capacity_bytes, uint64_t page_bytes, struct arena **ret)
{
    if (page_bytes == 0 || (page_bytes & (page_bytes - 1)) != 0 || capacity_bytes < page_bytes)
        return -EINVAL;
    struct arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return -ENOMEM;
    arena->page_bytes = page_bytes;
    arena->capacity_pages = capacity_bytes / page_bytes;
    arena->generation = 1;
    *ret = arena;
    return 0;
}

struct arena *arena_free(struct arena *arena)
{
    if (!arena)
        return NULL;
    free(arena->spare);
    free_pages_done(&arena->free);
    free(arena);
    return NULL;
}

static struct extent_list *new_list(uint64_t n_extents)
{
    return n_extents > (SIZE_MAX - sizeof(struct extent_list)) / sizeof(struct extent)
               ? NULL
               : malloc(sizeof(struct extent_list) + n_extents * sizeof(struct extent));
}

int arena_footprint(const struct arena *arena, uint64_t bytes, uint64_t shift_bytes,
                    uint64_t *ret_pages)
{
    uint64_t end;
    if (__builtin_add_overflow(bytes, shift_bytes, &end) ||
        __builtin_add_overflow(end, arena->page_bytes - 1, &end))
        return -EOVERFLOW;
    *ret_pages = end / arena->page_bytes;
    return 0;
}

static uint64_t top_free_pages(const struct arena *arena)
{
    return arena->capacity_pages - arena->free.top_page;
}

int arena_prepare(struct arena *arena, uint64_t n_pages)
{
    uint64_t n_needed = arena->free.n_runs + arena->n_extents + 1;
    uint64_t top_pages = top_free_pages(arena);
    if (n_needed > n_pages)
        n_needed = n_pages;
    int r = free_pages_reserve(&arena->free,
                               arena->free.top_page + (n_pages < top_pages ? n_pages : top_pages));
    if (r < 0 || arena->n_spare >= n_needed)
        return r;
    /* What it does not use of a long list costs no memory, because it never touches that. */
    struct extent_list *list = new_list(n_needed);
    if (!list)
        return -ENOMEM;
    free(arena->spare);
    arena->spare = list;
    arena->n_spare = n_needed;
    return 0;
}

/* Finds the smallest run that holds `n_pages`, the first if several are equal. */
static bool find_best_fit(struct arena *arena, uint64_t n_pages, struct page_run *ret)
{
    struct page_run run = {0};
    bool found = false;
    if (arena->largest_pages > 0 && arena->largest_pages < n_pages)
        return false;
    bool is_long = n_pages >= FREE_PAGES_LONG;
    uint64_t largest_pages = 0;
    while (is_long ? free_pages_next_long(&arena->free, run.first_page + run.n_pages, &run)
                   : free_pages_next(&arena->free, run.first_page + run.n_pages, &run)) {
        if (largest_pages < run.n_pages)
            largest_pages = run.n_pages;
        if (run.n_pages < n_pages || (found && run.n_pages >= ret->n_pages))
            continue;
        *ret = run;
        found = true;
        if (run.n_pages == n_pages)
            return true;
    }
    if (!is_long || found)
        arena->largest_pages = largest_pages;
    return found;
}

static void append(struct arena *arena, uint64_t first_page, uint64_t n_pages)
{
    assert(arena->spare->n < arena->n_spare);
    arena->spare->extents[arena->spare->n++] = (struct extent){first_page, n_pages};
    arena->n_extents++;
}

/* Takes the front of a run for the allocation's next extent. */
static void take(struct arena *arena, const struct page_run *run, uint64_t n_pages)
{
    if (n_pages > run->n_pages)
        n_pages = run->n_pages;
    free_pages_take(&arena->free, run, n_pages);
    if (run->n_pages == arena->largest_pages)
        arena->largest_pages = 0;
    append(arena, run->first_page, n_pages);
}

static void take_top(struct arena *arena, uint64_t n_pages)
{
    append(arena, arena->free.top_page, n_pages);
    free_pages_take_top(&arena->free, n_pages);
    if (arena->high_water_pages < arena->free.top_page)
        arena->high_water_pages = arena->free.top_page;
}

/* Gives the spare list to the allocation, if that has several extents. */
static void end_list(struct arena *arena, struct allocation *allocation)
{
    struct extent_list *list = arena->spare;
    allocation->first_page = list->extents[0].first_page;
    if (list->n == 1)
        return;
    enum { UNUSED_MAX = 64 };
    struct extent_list *shorter =
        arena->n_spare - list->n <= UNUSED_MAX
            ? list
            : realloc(list, sizeof *list + list->n * sizeof list->extents[0]);
    allocation->several = shorter ? shorter : list;
    arena->spare = NULL;
    arena->n_spare = 0;
}

int arena_alloc(struct arena *arena, uint64_t n_pages, struct allocation *allocation)
{
    assert(n_pages > 0);
    assert(!arena_holds(arena, allocation));
    if (n_pages > arena_free_pages(arena))
        return -ENOSPC;
    int r = arena_prepare(arena, n_pages);
    if (r < 0)
        return r;
    allocation_done(allocation);

    struct page_run run = {0};
    uint64_t missing_pages = n_pages;
    arena->spare->n = 0;
    if (find_best_fit(arena, n_pages, &run)) {
        take(arena, &run, n_pages);
        missing_pages = 0;
    } else if (top_free_pages(arena) < n_pages) {
        while (missing_pages > 0 &&
               free_pages_next(&arena->free, run.first_page + run.n_pages, &run)) {
            take(arena, &run, missing_pages);
            missing_pages -= run.n_pages < missing_pages ? run.n_pages : missing_pages;
        }
    }
    if (missing_pages > 0)
        take_top(arena, missing_pages);
    end_list(arena, allocation);
    arena->used_pages += n_pages;
    allocation->n_pages = n_pages;
    allocation->generation = arena->generation;
    return 0;
}

static bool claims_are_sound(const struct arena *arena, const struct claim *claims, size_t n_claims,
                             uint64_t high_water_pages)
{
    uint64_t end_page = 0;
    for (size_t i = 0; i < n_claims; i++) {
        if (claims[i].n_pages == 0 || claims[i].first_page < end_page ||
            __builtin_add_overflow(claims[i].first_page, claims[i].n_pages, &end_page))
            return false;
    }
    return end_page <= high_water_pages && high_water_pages <= arena->capacity_pages;
}

/* Makes the empty lists of the allocations that have several claims. */
static int make_lists(const struct claim *claims, size_t n_claims)
{
    int r = 0;
    for (size_t i = 0; i < n_claims; i++)
        claims[i].allocation->n_pages++; /* here it counts the claims */
    for (size_t i = 0; i < n_claims && r == 0; i++) {
        struct allocation *allocation = claims[i].allocation;
        if (allocation->n_pages == 1 || allocation->several)
            continue;
        allocation->several = new_list(allocation->n_pages);
        if (allocation->several)
            allocation->several->n = 0;
        else
            r = -ENOMEM;
    }
    for (size_t i = 0; i < n_claims; i++)
        if (r < 0)
            allocation_done(claims[i].allocation);
        else
            claims[i].allocation->n_pages = 0;
    return r;
}

int arena_restore(struct arena *arena, const struct claim *claims, size_t n_claims,
                  uint64_t high_water_pages)
{
    assert(arena->used_pages == 0 && arena->generation == 1);
    if (!claims_are_sound(arena, claims, n_claims, high_water_pages))
        return -EINVAL;
    int r = free_pages_reserve(&arena->free, high_water_pages);
    if (r == 0)
        r = make_lists(claims, n_claims);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_claims; i++) {
        const struct claim *claim = &claims[i];
        struct allocation *allocation = claim->allocation;
        uint64_t top_page = arena->free.top_page;
        if (allocation->several)
            allocation->several->extents[allocation->several->n++] =
                (struct extent){claim->first_page, claim->n_pages};
        if (allocation->n_pages == 0)
            allocation->first_page = claim->first_page;
        free_pages_take_top(&arena->free, claim->first_page + claim->n_pages - top_page);
        if (claim->first_page > top_page)
            free_pages_release(&arena->free, top_page, claim->first_page - top_page);
        allocation->n_pages += claim->n_pages;
        allocation->generation = arena->generation;
        arena->used_pages += claim->n_pages;
        arena->n_extents++;
        arena->steps++;
    }
    arena->high_water_pages = high_water_pages;
    return 0;
}

void arena_release(struct arena *arena, struct allocation *allocation)
{
    if (arena_holds(arena, allocation)) {
        const struct extent *end = allocation_end(allocation);
        for (const struct extent *extent = allocation_extents(allocation); extent < end; extent++)
            free_pages_release(&arena->free, extent->first_page, extent->n_pages);
        arena->steps += allocation_n_extents(allocation);
        arena->n_extents -= allocation_n_extents(allocation);
        arena->used_pages -= allocation->n_pages;
        arena->largest_pages = 0;
    }
    allocation_done(allocation);
}

void allocation_done(struct allocation *allocation)
{
    free(allocation->several);
    *allocation = (struct allocation){0};
}

bool arena_holds(const struct arena *arena, const struct allocation *allocation)
{
    return allocation->generation == arena->generation;
}

void arena_reset(struct arena *arena)
{
    /* An allocation's list is freed when its owner next uses it. */
    free_pages_reset(&arena->free);
    arena->used_pages = 0;
    arena->n_extents = 0;
    arena->largest_pages = 0;
    arena->generation++;
}

bool arena_next_free(const struct arena *arena, uint64_t from_page, struct extent *ret)
{
    struct free_pages pages = arena->free; /* the steps of this search do not count */
    struct page_run run;
    if (!free_pages_next(&pages, from_page, &run)) {
        run.first_page = from_page > pages.top_page ? from_page : pages.top_page;
        if (run.first_page >= arena->capacity_pages)
            return false;
        run.n_pages = arena->capacity_pages - run.first_page;
    }
    *ret = (struct extent){.first_page = run.first_page, .n_pages = run.n_pages};
    return true;
}

uint64_t arena_page_bytes(const struct arena *arena)
{
    return arena->page_bytes;
}

uint64_t arena_capacity_pages(const struct arena *arena)
{
    return arena->capacity_pages;
}

uint64_t arena_free_pages(const struct arena *arena)
{
    return arena->capacity_pages - arena->used_pages;
}

uint64_t arena_high_water_pages(const struct arena *arena)
{
    return arena->high_water_pages;
}

void arena_get_stats(const struct arena *arena, struct arena_stats *ret)
{
    struct free_pages pages = arena->free; /* the steps of this search do not count */
    struct page_run run = {.n_pages = arena->largest_pages};
    uint64_t largest_pages = top_free_pages(arena);
    do {
        if (largest_pages < run.n_pages)
            largest_pages = run.n_pages;
    } while (arena->largest_pages == 0 &&
             free_pages_next(&pages, run.first_page + run.n_pages, &run));
    *ret = (struct arena_stats){
        .capacity_pages = arena->capacity_pages,
        .used_pages = arena->used_pages,
        .free_pages = arena_free_pages(arena),
        .high_water_pages = arena->high_water_pages,
        .largest_free_pages = largest_pages,
        .n_extents = arena->n_extents,
    };
}

uint64_t arena_steps(const struct arena *arena)
{
    return arena->steps + arena->free.steps;
}
