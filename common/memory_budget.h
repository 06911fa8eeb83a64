/* A bound on the memory that a thread's present work may take, for work whose memory depends on
 * what a peer sends. Code that allocates such memory takes it from the budget first. Without a
 * budget everything may be taken. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_budget {
    uint64_t left_bytes;
    bool is_exceeded; /* something was refused since the budget was made */
    /* Adds at least `n_bytes` to left_bytes, perhaps after a while. Returns false if it cannot. */
    bool (*extend)(struct memory_budget *budget, uint64_t n_bytes);
};

/* From now on this thread's work takes from `budget`, which is borrowed; NULL: it has none. */
void memory_budget_use(struct memory_budget *budget);

/* Returns false if the budget does not allow it; then treat it as a failed allocation. */
bool memory_budget_take(uint64_t n_bytes);
void memory_budget_give(uint64_t n_bytes);

/* calloc, of memory that is taken before. Give n * size back when it is freed, or never. */
void *memory_budget_calloc(size_t n, size_t size);
