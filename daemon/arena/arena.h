/* The arena's bookkeeping: which pages belong to which allocation. It touches no memory of the
 * arena.
 *
 * It allocates linearly. It tries the best fit in one run of free pages, then the untouched top,
 * then several runs in address order. Therefore an allocation succeeds if and only if enough pages
 * are free; there is no external fragmentation, and no allocation is ever moved. When the topmost
 * pages are freed, the top moves down again.
 *
 * Reset takes O(1), however much is allocated: it starts a new generation, and allocations of older
 * generations no longer hold pages. Source: D. Hanson, "Fast allocation and deallocation of memory
 * based on object lifetimes" (1990).
 *
 * Single-threaded. arena_release takes time linear in the allocation's own extents and, for a large
 * extent, a step for each 64 pages; in which order pages are freed does not matter. arena_alloc
 * also looks at the free runs, at most one word of the bitmap for each 64 pages of the arena. An
 * allocation in many extents costs little for each, because they lie in one array. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* A run of consecutive pages. */
struct extent {
    uint64_t first_page, n_pages;
};

struct extent_list {
    size_t n;
    struct extent extents[];
};

/* The pages that one arena_alloc obtained. The owner holds it by value and zero-initialises it. */
struct allocation {
    union {
        struct extent whole; /* the only extent */
        struct {
            uint64_t first_page, n_pages; /* of all extents together */
        };
    };
    struct extent_list *several; /* owned; NULL: one extent */
    uint64_t generation;         /* 0: it never held pages */
};

/* The allocation's extents, in the order in which its bytes lie in them: an array, because layers
 * with very many extents are walked often. Their addresses ascend. Valid until the allocation is
 * released. */
static inline size_t allocation_n_extents(const struct allocation *allocation)
{
    return allocation->several ? allocation->several->n : allocation->n_pages > 0;
}
static inline const struct extent *allocation_extents(const struct allocation *allocation)
{
    return allocation->several ? allocation->several->extents : &allocation->whole;
}
static inline const struct extent *allocation_end(const struct allocation *allocation)
{
    return allocation_extents(allocation) + allocation_n_extents(allocation);
}

struct arena_stats {
    uint64_t capacity_pages, used_pages, free_pages, high_water_pages, largest_free_pages;
    uint64_t n_extents; /* in use by allocations */
};

/* The page size of an arena without memory, at least `page_bytes`. In a very large one pages are
 * larger, so that the bookkeeping, a bit for each page, stays below 16 MiB. */
uint64_t arena_simulated_page_bytes(uint64_t capacity_bytes, uint64_t page_bytes);

/* Rounds `capacity_bytes` down to `page_bytes` (a power of two). Returns 0, -EINVAL if that leaves
 * no page, or -ENOMEM. */
int arena_new(uint64_t capacity_bytes, uint64_t page_bytes, struct arena **ret);
/* Release all allocations first. */
struct arena *arena_free(struct arena *arena);
DEFINE_CLEANUP(struct arena *, arena_free);

/* Computes how many whole pages `bytes` need that start `shift_bytes` into the first page. Returns
 * 0, or -EOVERFLOW if those pages have more than 2^64-1 bytes. */
int arena_footprint(const struct arena *arena, uint64_t bytes, uint64_t shift_bytes,
                    uint64_t *ret_pages);

/* `n_pages` > 0. `allocation` must not hold pages of the current generation. Returns 0, -ENOSPC if
 * and only if fewer pages are free, or -ENOMEM. On failure nothing changes. */
int arena_alloc(struct arena *arena, uint64_t n_pages, struct allocation *allocation);

/* Allocates now what an arena_alloc of `n_pages` may need. So that call cannot fail with -ENOMEM,
 * whatever is released or reset before it. Returns 0 or -ENOMEM. */
int arena_prepare(struct arena *arena, uint64_t n_pages);

/* A run of pages that an allocation had in the arena of an earlier process. */
struct claim {
    uint64_t first_page, n_pages;  /* > 0 */
    struct allocation *allocation; /* may have several claims; its bytes lie in them in order */
};

/* Restores these allocations, in address order, and the high-water mark in an empty arena of the
 * first generation. Returns 0; -EINVAL if the claims overlap, are out of order or out of bounds;
 * -ENOMEM. On failure nothing changes. */
int arena_restore(struct arena *arena, const struct claim *claims, size_t n_claims,
                  uint64_t high_water_pages);

/* Frees the allocation's pages. An allocation of an older generation has none. Cannot fail. */
void arena_release(struct arena *arena, struct allocation *allocation);

/* Frees the memory of an allocation that holds no pages. Unlike arena_release, any thread may call
 * it. */
void allocation_done(struct allocation *allocation);

/* Whether the allocation holds pages now. */
bool arena_holds(const struct arena *arena, const struct allocation *allocation);

/* Frees every allocation at once, in O(1). */
void arena_reset(struct arena *arena);

/* Finds the next run of free pages from `from_page` on. Returns false if there is none. */
bool arena_next_free(const struct arena *arena, uint64_t from_page, struct extent *ret);
uint64_t arena_page_bytes(const struct arena *arena);
uint64_t arena_capacity_pages(const struct arena *arena);
uint64_t arena_free_pages(const struct arena *arena);
/* The number of pages from the arena's start to the last page that was ever in use. */
uint64_t arena_high_water_pages(const struct arena *arena);

/* Linear in the free runs. arena_steps does not count them. */
void arena_get_stats(const struct arena *arena, struct arena_stats *ret);

/* Extents released or restored, and words of the bitmap visited, since arena_new. Tests count them
 * instead of measuring time. */
uint64_t arena_steps(const struct arena *arena);
