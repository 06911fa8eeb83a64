#include "daemon/system/event_memory.h"

#include <event2/event.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 256, BLOCK_BYTES = 1024 }; /* a connection with its request takes about ten */

/* libevent passes no context. */
static struct block {
    alignas(max_align_t) unsigned char bytes[BLOCK_BYTES];
} blocks[BLOCKS];
static bool is_used[BLOCKS];

static bool is_reserved(const void *pointer)
{
    uintptr_t at = (uintptr_t)pointer;
    return at >= (uintptr_t)blocks && at < (uintptr_t)(blocks + BLOCKS);
}

static void *take(size_t n_bytes)
{
    void *found = malloc(n_bytes);
    for (size_t i = 0; !found && n_bytes <= BLOCK_BYTES && i < BLOCKS; i++)
        if (!is_used[i]) {
            is_used[i] = true;
            found = &blocks[i];
        }
    return found;
}

static void give(void *pointer)
{
    if (is_reserved(pointer))
        is_used[(struct block *)pointer - blocks] = false;
    else
        free(pointer);
}

static void *resize(void *pointer, size_t n_bytes)
{
    if (!is_reserved(pointer))
        return realloc(pointer, n_bytes);
    void *moved = malloc(n_bytes);
    if (!moved)
        return n_bytes <= BLOCK_BYTES ? pointer : NULL;
    memcpy(moved, pointer, n_bytes < BLOCK_BYTES ? n_bytes : BLOCK_BYTES);
    give(pointer);
    return moved;
}

void event_memory_install(void)
{
    event_set_mem_functions(take, resize, give);
}
