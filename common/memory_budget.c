/* Owns each thread's present budget. It is a global variable because what allocates lies far below
 * what knows the budget. */
#include "common/memory_budget.h"

#include <stdlib.h>

static _Thread_local struct memory_budget *present;

void memory_budget_use(struct memory_budget *budget)
{
    present = budget;
}

bool memory_budget_take(uint64_t n_bytes)
{
    if (!present)
        return true;
    if (present->left_bytes < n_bytes && !present->extend(present, n_bytes - present->left_bytes)) {
        present->is_exceeded = true;
        return false;
    }
    present->left_bytes -= n_bytes;
    return true;
}

void memory_budget_give(uint64_t n_bytes)
{
    if (present)
        present->left_bytes += n_bytes;
}

void *memory_budget_calloc(size_t n, size_t size)
{
    size_t n_bytes;

    if (__builtin_mul_overflow(n, size, &n_bytes) || !memory_budget_take(n_bytes))
        return NULL;
    void *memory = calloc(n, size);
    if (!memory)
        memory_budget_give(n_bytes);
    return memory;
}
