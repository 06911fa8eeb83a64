/* Owns two counters per thread. They are global variables because jansson's functions get no
 * context.
 */
#include "common/json_memory.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>

static _Thread_local uint64_t n_failures, held_bytes;
static bool is_installed;

static void *allocate(size_t n_bytes)
{
    void *memory = malloc(n_bytes);

    if (!memory)
        n_failures++;
    held_bytes += malloc_usable_size(memory);
    return memory;
}

static void release(void *memory)
{
    held_bytes -= malloc_usable_size(memory);
    free(memory);
}

void json_memory_install(void)
{
    json_set_alloc_funcs(allocate, release);
    is_installed = true;
}

bool json_memory_is_installed(void)
{
    return is_installed;
}

uint64_t json_memory_failures(void)
{
    return n_failures;
}

uint64_t json_memory_held_bytes(void)
{
    return held_bytes;
}
