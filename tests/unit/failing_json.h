/* An allocator for jansson that fails after a given number of allocations. */
#pragma once

#include <jansson.h>
#include <stdlib.h>

static size_t n_allocations_left;

static inline void *allocate(size_t n_bytes)
{
    return n_allocations_left-- > 0 ? malloc(n_bytes) : NULL;
}

static inline void fail_after(size_t n_allocations)
{
    n_allocations_left = n_allocations;
    json_set_alloc_funcs(allocate, free);
}

static inline void fail_no_more(void)
{
    json_set_alloc_funcs(malloc, free);
}
