/* Owns two counters per thread, and a block in reserve. They are global variables because jansson's
 * functions get no context. */
#include "common/json_memory.h"

#include "common/cleanup.h"

#include <malloc.h>
#include <stdlib.h>

static _Thread_local uint64_t n_failures, held_bytes;
static bool is_installed;

/* For the room that jansson makes for the token that it reads, which is its first allocation after
 * a byte of the text. It doubles the room when the token fills it. */
static _Thread_local struct {
    void *block; /* NULL: used, and the text ends */
    size_t n_bytes;
    bool is_next; /* the next allocation may be that one */
} reserve;

static void *allocate(size_t n_bytes)
{
    void *memory = malloc(n_bytes);

    if (!memory) {
        n_failures++;
        if (reserve.is_next && n_bytes <= reserve.n_bytes)
            memory = TAKE_PTR(reserve.block);
    }
    reserve.is_next = false;
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

struct rest {
    const char *next, *end;
};

static size_t give_byte(void *buffer, size_t n_bytes, void *context)
{
    struct rest *rest = context;

    (void)n_bytes;
    if (rest->next == rest->end || !reserve.block)
        return 0;
    reserve.is_next = true;
    *(char *)buffer = *rest->next++;
    return 1;
}

json_t *json_memory_load(const char *text, size_t n_bytes, size_t token_bytes, size_t flags,
                         json_error_t *error)
{
    struct rest rest = {text, text + n_bytes};

    if (!is_installed)
        return json_loadb(text, n_bytes, flags, error);
    reserve.n_bytes = 2 * (token_bytes + 2); /* with the byte that ends it, and a NUL */
    reserve.block = malloc(reserve.n_bytes);
    if (!reserve.block)
        n_failures++;
    json_t *json = json_load_callback(give_byte, &rest, flags, error);
    free(TAKE_PTR(reserve.block));
    reserve.is_next = false;
    return json;
}
