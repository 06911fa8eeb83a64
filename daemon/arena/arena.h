/* The arena's bookkeeping: which pages belong to whom. No memory is touched here.
 *
 * Linear allocation with an address-ordered, coalescing free list: best fit in one extent, then
 * the untouched top, then several extents in address order. Therefore an allocation succeeds if
 * and only if the free pages cover it; there is no external fragmentation, and nothing is ever
 * moved. Freeing the topmost pages brings the top back down.
 *
 * Reset is O(1) whatever is allocated: it starts a new generation, and allocations of an older one
 * no longer hold pages. Source: D. Hanson, "Fast allocation and deallocation of memory based on
 * object lifetimes" (1990), for the arena; Knuth, TAOCP 1, 2.5, for the free list.
 *
 * Single-threaded. Cost: alloc and release are linear in the number of free extents. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct arena;

/* A run of consecutive pages. Owned by the arena; chained in the order in which the allocation's
 * bytes lie in them. */
struct extent {
    uint64_t first_page;
    uint64_t n_pages;
    struct extent *next;
};

/* What one arena_alloc obtained. Zero-initialise; held by value by its owner. */
struct allocation {
    struct extent *extents;
    uint64_t n_pages;
    uint64_t generation; /* 0: nothing was ever allocated */
};

struct arena_stats {
    uint64_t capacity_pages, used_pages, free_pages, high_water_pages, largest_free_pages;
    uint64_t n_extents; /* in use by allocations */
};

/* `capacity_bytes` is rounded down to `page_bytes` (a power of two). 0, -EINVAL if that leaves no
 * page, -ENOMEM. */
int arena_new(uint64_t capacity_bytes, uint64_t page_bytes, struct arena **ret);
/* Allocations must be released with their owners first. */
struct arena *arena_free(struct arena *arena);
DEFINE_CLEANUP(struct arena *, arena_free);

/* Whole pages for `bytes` starting `shift_bytes` into the first page. 0, or -EOVERFLOW if those
 * pages are more than 2^64-1 bytes. */
int arena_footprint(const struct arena *arena, uint64_t bytes, uint64_t shift_bytes,
                    uint64_t *ret_pages);

/* `n_pages` > 0. `allocation` must not hold pages of the current generation; what it keeps of an
 * older one is recycled. 0, -ENOSPC if and only if fewer pages are free, or -ENOMEM; on failure
 * nothing changes. */
int arena_alloc(struct arena *arena, uint64_t n_pages, struct allocation *allocation);

/* Puts by what the next arena_alloc may need, so that it cannot fail with -ENOMEM whatever is
 * released or reset until then. 0 or -ENOMEM. */
int arena_prepare(struct arena *arena);

/* A place that an allocation had in an arena of an earlier process. */
struct claim {
    uint64_t first_page, n_pages;  /* > 0 */
    struct allocation *allocation; /* with several claims, its bytes lie in them in order */
};

/* Gives an empty arena of the first generation these allocations back, in address order, and its
 * high water mark. 0; -EINVAL if they overlap, are out of order or out of bounds; -ENOMEM. On
 * failure nothing changes. */
int arena_restore(struct arena *arena, const struct claim *claims, size_t n_claims,
                  uint64_t high_water_pages);

/* Gives the pages back (none, if the allocation is of an older generation). Cannot fail. */
void arena_release(struct arena *arena, struct allocation *allocation);

/* Whether the allocation holds pages now. */
bool arena_holds(const struct arena *arena, const struct allocation *allocation);

/* Frees every allocation at once, in O(1). */
void arena_reset(struct arena *arena);

uint64_t arena_page_bytes(const struct arena *arena);
uint64_t arena_capacity_pages(const struct arena *arena);
uint64_t arena_free_pages(const struct arena *arena);
/* The most pages, counted from the arena's start, that have ever been in use. */
uint64_t arena_high_water_pages(const struct arena *arena);

/* O(free extents), not counted as steps. */
void arena_get_stats(const struct arena *arena, struct arena_stats *ret);

/* Extents visited since arena_new, for tests that count instead of timing. */
uint64_t arena_steps(const struct arena *arena);
