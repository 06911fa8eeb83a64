/* The memory of one definition: many small pieces, which are freed together. It is taken from the
 * thread's budget (memory_budget.h), so a pool is freed by the work that made it, or without a
 * budget. */
#pragma once

#include "common/cleanup.h"

#include <stddef.h>

struct definition_pool;

struct definition_pool *definition_pool_new(void); /* NULL when out of memory */
struct definition_pool *definition_pool_free(struct definition_pool *pool);
DEFINE_CLEANUP(struct definition_pool *, definition_pool_free);

/* `n_bytes` uninitialised bytes, aligned to 8. NULL when out of memory. */
void *definition_pool_alloc(struct definition_pool *pool, size_t n_bytes);

/* Room for a string of `n_bytes` bytes and its NUL, not aligned. Writes the NUL. */
char *definition_pool_string(struct definition_pool *pool, size_t n_bytes);
