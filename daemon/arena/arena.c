/* Owns the pages' bookkeeping: the free list, the untouched top and the nodes that stand for runs
 * of pages.
 *
 * Invariant: the free list is in address order, no two free extents touch each other, and none
 * touches the top. So the pages in the list, the pages from the top on and the pages in use always
 * add up to the capacity. A node is in exactly one place: the free list, the spare list or an
 * allocation, which may be of an older generation. Releasing therefore only moves nodes, and cannot
 * fail.
 *
 * Leaves to others: the memory itself (backing), which layer owns an allocation (scheduler). */
#include "daemon/arena/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct arena {
    uint64_t page_bytes, capacity_pages;
    uint64_t top_page; /* from here on all pages are free and in no list */
    uint64_t used_pages, high_water_pages, n_extents;
    uint64_t generation; /* from 1 */
    uint64_t steps;
    struct extent *free_list;
    struct extent **free_end; /* the link that is NULL at the free list's end */
    struct extent *spare;     /* nodes that stand for no pages */
};

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
    arena->free_end = &arena->free_list;
    *ret = arena;
    return 0;
}

static void free_nodes(struct extent *extent)
{
    while (extent) {
        struct extent *next = extent->next;
        free(extent);
        extent = next;
    }
}

struct arena *arena_free(struct arena *arena)
{
    if (!arena)
        return NULL;
    free_nodes(arena->free_list);
    free_nodes(arena->spare);
    free(arena);
    return NULL;
}

/* All walks except arena_get_stats use this function, so that every step is counted. */
static struct extent **next_link(struct arena *arena, struct extent *extent)
{
    arena->steps++;
    return &extent->next;
}

static uint64_t extent_end(const struct extent *extent)
{
    return extent->first_page + extent->n_pages;
}

static void push_spare(struct arena *arena, struct extent *extent)
{
    extent->next = arena->spare;
    arena->spare = extent;
}

static struct extent *pop_spare(struct arena *arena, uint64_t first_page, uint64_t n_pages)
{
    struct extent *extent = arena->spare;
    assert(extent);
    arena->spare = extent->next;
    *extent = (struct extent){.first_page = first_page, .n_pages = n_pages};
    return extent;
}

/* Moves the nodes that an allocation has from an older generation to the spare list. */
static void recycle(struct arena *arena, struct allocation *allocation)
{
    struct extent *extent = allocation->extents;
    while (extent) {
        struct extent *next = *next_link(arena, extent);
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

int arena_prepare(struct arena *arena)
{
    if (arena->spare)
        return 0;
    struct extent *extent = malloc(sizeof *extent);
    if (!extent)
        return -ENOMEM;
    push_spare(arena, extent);
    return 0;
}

/* Returns the link to the smallest free extent that holds `n_pages`, the first if several are
 * equal; or NULL. */
static struct extent **find_best_fit(struct arena *arena, uint64_t n_pages)
{
    struct extent **best = NULL;
    for (struct extent **link = &arena->free_list; *link; link = next_link(arena, *link)) {
        if ((*link)->n_pages < n_pages || (best && (*link)->n_pages >= (*best)->n_pages))
            continue;
        best = link;
        if ((*best)->n_pages == n_pages)
            break;
    }
    return best;
}

/* Takes the first `n_pages` of a free extent, or all of it. */
static struct extent *take(struct arena *arena, struct extent **link, uint64_t n_pages)
{
    struct extent *extent = *link;
    if (extent->n_pages > n_pages) {
        struct extent *taken = pop_spare(arena, extent->first_page, n_pages);
        extent->first_page += n_pages;
        extent->n_pages -= n_pages;
        return taken;
    }
    *link = extent->next;
    if (!*link)
        arena->free_end = link;
    extent->next = NULL;
    return extent;
}

static struct extent *take_top(struct arena *arena, uint64_t n_pages)
{
    struct extent *extent = pop_spare(arena, arena->top_page, n_pages);
    arena->top_page += n_pages;
    if (arena->high_water_pages < arena->top_page)
        arena->high_water_pages = arena->top_page;
    return extent;
}

int arena_alloc(struct arena *arena, uint64_t n_pages, struct allocation *allocation)
{
    assert(n_pages > 0);
    assert(!arena_holds(arena, allocation));
    if (n_pages > arena_free_pages(arena))
        return -ENOSPC;
    recycle(arena, allocation);
    /* One node suffices, because at most one free extent, or the top, is split. */
    int r = arena_prepare(arena);
    if (r < 0)
        return r;

    struct extent **end = &allocation->extents;
    struct extent **best = find_best_fit(arena, n_pages);
    if (best) {
        *end = take(arena, best, n_pages);
        arena->n_extents++;
    } else {
        uint64_t missing = n_pages;
        if (arena->capacity_pages - arena->top_page < n_pages) {
            while (missing > 0 && arena->free_list) {
                uint64_t n =
                    arena->free_list->n_pages < missing ? arena->free_list->n_pages : missing;
                *end = take(arena, &arena->free_list, n);
                end = next_link(arena, *end);
                missing -= n;
                arena->n_extents++;
            }
        }
        if (missing > 0) {
            *end = take_top(arena, missing);
            arena->n_extents++;
        }
    }
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
    for (size_t i = 0; i < 2 * n_claims; i++) {
        struct extent *extent = malloc(sizeof *extent);
        if (!extent)
            return -ENOMEM;
        push_spare(arena, extent);
    }
    for (size_t i = 0; i < n_claims; i++) {
        const struct claim *claim = &claims[i];
        if (claim->first_page > arena->top_page) {
            *arena->free_end =
                pop_spare(arena, arena->top_page, claim->first_page - arena->top_page);
            arena->free_end = &(*arena->free_end)->next;
        }
        struct extent **end = &claim->allocation->extents;
        while (*end)
            end = next_link(arena, *end);
        *end = pop_spare(arena, claim->first_page, claim->n_pages);
        claim->allocation->n_pages += claim->n_pages;
        claim->allocation->generation = arena->generation;
        arena->used_pages += claim->n_pages;
        arena->n_extents++;
        arena->top_page = claim->first_page + claim->n_pages;
    }
    arena->high_water_pages = high_water_pages;
    return 0;
}

void arena_release(struct arena *arena, struct allocation *allocation)
{
    if (!arena_holds(arena, allocation)) {
        recycle(arena, allocation);
        return;
    }
    /* Both lists are in address order, so one pass merges them. `link` is the link to the free
     * extent that received the last pages. */
    struct extent **link = &arena->free_list;
    struct extent *chain = allocation->extents;
    while (chain) {
        struct extent *extent = chain;
        chain = *next_link(arena, extent);
        while (*link && extent_end(*link) < extent->first_page)
            link = next_link(arena, *link);
        if (*link && extent_end(*link) == extent->first_page) {
            (*link)->n_pages += extent->n_pages;
            push_spare(arena, extent);
        } else {
            extent->next = *link;
            *link = extent;
        }
        struct extent *merged = *link, *next = merged->next;
        if (next && extent_end(merged) == next->first_page) {
            merged->n_pages += next->n_pages;
            merged->next = next->next;
            push_spare(arena, next);
        }
        if (!merged->next)
            arena->free_end = &merged->next;
        arena->n_extents--;
    }
    struct extent *last = *link;
    if (extent_end(last) == arena->top_page) {
        arena->top_page = last->first_page;
        *link = NULL;
        arena->free_end = link;
        push_spare(arena, last);
    }
    arena->used_pages -= allocation->n_pages;
    *allocation = (struct allocation){0};
}

bool arena_holds(const struct arena *arena, const struct allocation *allocation)
{
    return allocation->generation == arena->generation;
}

void arena_reset(struct arena *arena)
{
    /* The free list's nodes become spare now. An allocation's nodes become spare when its owner
     * next uses it. */
    *arena->free_end = arena->spare;
    arena->spare = arena->free_list;
    arena->free_list = NULL;
    arena->free_end = &arena->free_list;
    arena->top_page = 0;
    arena->used_pages = 0;
    arena->n_extents = 0;
    arena->generation++;
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
    uint64_t largest = arena->capacity_pages - arena->top_page;
    for (const struct extent *extent = arena->free_list; extent; extent = extent->next)
        if (largest < extent->n_pages)
            largest = extent->n_pages;
    *ret = (struct arena_stats){
        .capacity_pages = arena->capacity_pages,
        .used_pages = arena->used_pages,
        .free_pages = arena_free_pages(arena),
        .high_water_pages = arena->high_water_pages,
        .largest_free_pages = largest,
        .n_extents = arena->n_extents,
    };
}

uint64_t arena_steps(const struct arena *arena)
{
    return arena->steps;
}
