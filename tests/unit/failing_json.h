/* An allocator for jansson of which some allocations fail. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static struct {
    size_t n_before, n_left, n_failing;
} failing_json;

static inline void *allocate(size_t n_bytes)
{
    if (failing_json.n_before == 0 && failing_json.n_left > 0) {
        failing_json.n_left--;
        return NULL;
    }
    failing_json.n_before -= failing_json.n_before > 0;
    return malloc(n_bytes);
}

/* After the first `n_before` allocations, `n_failing` fail; SIZE_MAX: all. */
static inline void fail_some(size_t n_before, size_t n_failing)
{
    failing_json.n_before = n_before;
    failing_json.n_left = failing_json.n_failing = n_failing;
    json_set_alloc_funcs(allocate, free);
}

/* One fails. */
static inline void fail_after(size_t n_before)
{
    fail_some(n_before, 1);
}

/* Returns whether any has failed. */
static inline bool fail_no_more(void)
{
    json_set_alloc_funcs(malloc, free);
    return failing_json.n_left < failing_json.n_failing;
}
