/* Owns the pages' bookkeeping: which runs of free pages an allocation gets, and the nodes that
 * stand for the extents of allocations.
 *
 * Invariants: the free pages and the pages in use add up to the capacity. There are always as many
 * spare nodes as runs of free pages, and one more after arena_prepare. An allocation may need a
 * node for each run, so releasing pages and allocating them again needs no memory. A node is spare
 * or belongs to an allocation, which may be of an older generation.
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
    uint64_t generation;  /* from 1 */
    uint64_t steps;       /* nodes that walks have visited */
    struct extent *spare; /* nodes that stand for no pages */
    uint64_t n_spare;
    uint64_t largest_pages; /* of the runs below the top; 0: not known */
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
    while (arena->spare) {
        struct extent *extent = arena->spare;
        arena->spare = extent->next;
        free(extent);
    }
    free_pages_done(&arena->free);
    free(arena);
    return NULL;
}

static void push_spare(struct arena *arena, struct extent *extent)
{
    extent->next = arena->spare;
    arena->spare = extent;
    arena->n_spare++;
}

/* Makes `n` more. Returns 0 or -ENOMEM. */
static int add_spare(struct arena *arena, uint64_t n)
{
    for (; n > 0; n--) {
        struct extent *extent = malloc(sizeof *extent);
        if (!extent)
            return -ENOMEM;
        push_spare(arena, extent);
    }
    return 0;
}

static struct extent *pop_spare(struct arena *arena, uint64_t first_page, uint64_t n_pages)
{
    struct extent *extent = arena->spare;
    assert(extent);
    arena->spare = extent->next;
    arena->n_spare--;
    *extent = (struct extent){.first_page = first_page, .n_pages = n_pages};
    return extent;
}

/* Moves the nodes that an allocation has from an older generation to the spare list. */
static void recycle(struct arena *arena, struct allocation *allocation)
{
    struct extent *extent = allocation->extents;
    while (extent) {
        struct extent *next = extent->next;
        arena->steps++;
        push_spare(arena, extent);
        extent = next;
    }
    *allocation = (struct allocation){0};
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
    if (n_pages > top_free_pages(arena))
        n_pages = top_free_pages(arena);
    int r = free_pages_reserve(&arena->free, arena->free.top_page + n_pages);
    uint64_t n_needed = arena->free.n_runs + 1;
    return r < 0 || arena->n_spare >= n_needed ? r : add_spare(arena, n_needed - arena->n_spare);
}

/* Finds the smallest run that holds `n_pages`, the first if several are equal. */
static bool find_best_fit(struct arena *arena, uint64_t n_pages, struct page_run *ret)
{
    struct page_run run = {0};
    bool found = false;
    if (arena->largest_pages > 0 && arena->largest_pages < n_pages)
        return false;
    uint64_t largest_pages = 0;
    while (free_pages_next(&arena->free, run.first_page + run.n_pages, &run)) {
        if (largest_pages < run.n_pages)
            largest_pages = run.n_pages;
        if (run.n_pages < n_pages || (found && run.n_pages >= ret->n_pages))
            continue;
        *ret = run;
        found = true;
        if (run.n_pages == n_pages)
            return true;
    }
    arena->largest_pages = largest_pages;
    return found;
}

/* Takes the front of a run for an allocation's next extent. */
static struct extent **take(struct arena *arena, const struct page_run *run, uint64_t n_pages,
                            struct extent **end)
{
    if (n_pages > run->n_pages)
        n_pages = run->n_pages;
    free_pages_take(&arena->free, run, n_pages);
    if (run->n_pages == arena->largest_pages)
        arena->largest_pages = 0;
    *end = pop_spare(arena, run->first_page, n_pages);
    arena->n_extents++;
    return &(*end)->next;
}

static void take_top(struct arena *arena, uint64_t n_pages, struct extent **end)
{
    *end = pop_spare(arena, arena->free.top_page, n_pages);
    arena->n_extents++;
    free_pages_take_top(&arena->free, n_pages);
    if (arena->high_water_pages < arena->free.top_page)
        arena->high_water_pages = arena->free.top_page;
}

int arena_alloc(struct arena *arena, uint64_t n_pages, struct allocation *allocation)
{
    assert(n_pages > 0);
    assert(!arena_holds(arena, allocation));
    if (n_pages > arena_free_pages(arena))
        return -ENOSPC;
    recycle(arena, allocation);
    int r = arena_prepare(arena, n_pages);
    if (r < 0)
        return r;

    struct extent **end = &allocation->extents;
    struct page_run run = {0};
    uint64_t missing_pages = n_pages;
    if (find_best_fit(arena, n_pages, &run)) {
        take(arena, &run, n_pages, end);
        missing_pages = 0;
    } else if (top_free_pages(arena) < n_pages) {
        while (missing_pages > 0 &&
               free_pages_next(&arena->free, run.first_page + run.n_pages, &run)) {
            end = take(arena, &run, missing_pages, end);
            missing_pages -= run.n_pages < missing_pages ? run.n_pages : missing_pages;
        }
    }
    if (missing_pages > 0)
        take_top(arena, missing_pages, end);
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

int arena_restore(struct arena *arena, const struct claim *claims, size_t n_claims,
                  uint64_t high_water_pages)
{
    assert(arena->used_pages == 0 && arena->generation == 1);
    if (!claims_are_sound(arena, claims, n_claims, high_water_pages))
        return -EINVAL;
    /* Each claim needs two nodes: one for itself, and one for the free pages before it. */
    int r = add_spare(arena, 2 * n_claims);
    if (r == 0)
        r = free_pages_reserve(&arena->free, high_water_pages);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_claims; i++) {
        const struct claim *claim = &claims[i];
        uint64_t top_page = arena->free.top_page;
        struct extent **end = &claim->allocation->extents;
        for (; *end; end = &(*end)->next)
            arena->steps++;
        *end = pop_spare(arena, claim->first_page, claim->n_pages);
        free_pages_take_top(&arena->free, claim->first_page + claim->n_pages - top_page);
        if (claim->first_page > top_page)
            free_pages_release(&arena->free, top_page, claim->first_page - top_page);
        claim->allocation->n_pages += claim->n_pages;
        claim->allocation->generation = arena->generation;
        arena->used_pages += claim->n_pages;
        arena->n_extents++;
    }
    arena->high_water_pages = high_water_pages;
    return 0;
}

void arena_release(struct arena *arena, struct allocation *allocation)
{
    if (arena_holds(arena, allocation)) {
        for (const struct extent *extent = allocation->extents; extent; extent = extent->next) {
            free_pages_release(&arena->free, extent->first_page, extent->n_pages);
            arena->n_extents--;
        }
        arena->used_pages -= allocation->n_pages;
        arena->largest_pages = 0;
    }
    recycle(arena, allocation);
}

void allocation_done(struct allocation *allocation)
{
    while (allocation->extents) {
        struct extent *extent = allocation->extents;
        allocation->extents = extent->next;
        free(extent);
    }
    *allocation = (struct allocation){0};
}

bool arena_holds(const struct arena *arena, const struct allocation *allocation)
{
    return allocation->generation == arena->generation;
}

void arena_reset(struct arena *arena)
{
    /* An allocation's nodes become spare when its owner next uses it. */
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
