/* A bump allocator over a list of chunks. In a chunk, aligned pieces grow from the front and
 * strings from the back, so that neither needs padding. Only the newest chunk of the usual size has
 * room. A larger piece gets its own chunk, behind that chunk in the list. */
#include "common/definition/definition_pool.h"

#include "common/memory_budget.h"

#include <stdint.h>

enum { CHUNK_BYTES = 16 * 1024 };

struct chunk {
    struct chunk *next;
    size_t front, back; /* the bytes between them are free */
    max_align_t bytes[];
};

struct definition_pool {
    struct chunk *chunks;
    uint64_t n_bytes; /* of all chunks, taken from the budget */
};

struct definition_pool *definition_pool_new(void)
{
    return calloc(1, sizeof(struct definition_pool));
}

struct definition_pool *definition_pool_free(struct definition_pool *pool)
{
    if (!pool)
        return NULL;
    memory_budget_give(pool->n_bytes);
    for (struct chunk *chunk = pool->chunks; chunk;) {
        struct chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    free(pool);
    return NULL;
}

/* Makes a chunk with `n_bytes` free bytes. */
static struct chunk *find_room(struct definition_pool *pool, size_t n_bytes)
{
    struct chunk *first = pool->chunks;
    size_t usual = CHUNK_BYTES - sizeof(struct chunk);

    if (first && first->back - first->front >= n_bytes)
        return first;
    size_t size = n_bytes > usual ? n_bytes : usual;
    if (size > SIZE_MAX - sizeof(struct chunk))
        return NULL;
    if (!memory_budget_take(sizeof(struct chunk) + size))
        return NULL;
    struct chunk *chunk = malloc(sizeof *chunk + size);
    if (!chunk)
        return NULL;
    pool->n_bytes += sizeof *chunk + size;
    chunk->front = 0;
    chunk->back = size;
    if (first && n_bytes > usual) {
        chunk->next = first->next;
        first->next = chunk;
    } else {
        chunk->next = first;
        pool->chunks = chunk;
    }
    return chunk;
}

void *definition_pool_alloc(struct definition_pool *pool, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX - 7)
        return NULL;
    n_bytes = (n_bytes + 7) & ~(size_t)7;
    struct chunk *chunk = find_room(pool, n_bytes);
    if (!chunk)
        return NULL;
    void *piece = (char *)chunk->bytes + chunk->front;
    chunk->front += n_bytes;
    return piece;
}

char *definition_pool_string(struct definition_pool *pool, size_t n_bytes)
{
    if (n_bytes == SIZE_MAX)
        return NULL;
    struct chunk *chunk = find_room(pool, n_bytes + 1);
    if (!chunk)
        return NULL;
    chunk->back -= n_bytes + 1;
    char *text = (char *)chunk->bytes + chunk->back;
    text[n_bytes] = '\0';
    return text;
}
