/* Makes the N-th allocation fail among those made while the flag is set (Check allocates, too),
 * alone or with all after it. For tests that are linked with --wrap=malloc,
 * --wrap=calloc and --wrap=realloc: those whose names end in _faults. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *__real_malloc(size_t n_bytes);
void *__real_calloc(size_t n, size_t n_bytes);
void *__real_realloc(void *old, size_t n_bytes);
void *__wrap_malloc(size_t n_bytes);
void *__wrap_calloc(size_t n, size_t n_bytes);
void *__wrap_realloc(void *old, size_t n_bytes);

static int may_fail;
static unsigned all_after_fail;            /* 0 or 1 */
static uint64_t allocations_until_failure; /* 0: none fails */

static inline int allocation_fails(void)
{
    if (!may_fail || allocations_until_failure == 0)
        return 0;
    if (allocations_until_failure > 1) {
        allocations_until_failure--;
        return 0;
    }
    allocations_until_failure = all_after_fail;
    return 1;
}

void *__wrap_malloc(size_t n_bytes)
{
    return allocation_fails() ? NULL : __real_malloc(n_bytes);
}

void *__wrap_calloc(size_t n, size_t n_bytes)
{
    return allocation_fails() ? NULL : __real_calloc(n, n_bytes);
}

void *__wrap_realloc(void *old, size_t n_bytes)
{
    return allocation_fails() ? NULL : __real_realloc(old, n_bytes);
}
