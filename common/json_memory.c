/* Owns one counter per thread. It is a global variable because jansson's functions get no context.
 */
#include "common/json_memory.h"

#include <jansson.h>
#include <stdlib.h>

static _Thread_local uint64_t n_failures;
static bool is_installed;

static void *allocate(size_t n_bytes)
{
    void *memory = malloc(n_bytes);

    if (!memory)
        n_failures++;
    return memory;
}

void json_memory_install(void)
{
    json_set_alloc_funcs(allocate, free);
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
