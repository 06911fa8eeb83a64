#include "daemon/weights/chunk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int add_chunk(struct chunk_list *list, const struct chunk *chunk)
{
    if (list->n == list->n_allocated) {
        size_t n = list->n_allocated ? 2 * list->n_allocated : 16;
        struct chunk *chunks = reallocarray(list->elements, n, sizeof *chunks);
        if (!chunks)
            return -ENOMEM;
        list->elements = chunks;
        list->n_allocated = n;
    }
    list->elements[list->n++] = *chunk;
    return 0;
}

/* A position in the layer's pages. It moves from their beginning to their end. */
struct cursor {
    const struct extent *extent; /* an element of an array */
    uint64_t done_bytes;         /* of the extent */
    uint64_t page_bytes, chunk_bytes;
};

/* Divides the layer's next `n_bytes` bytes into chunks, each inside one extent. */
static int add_run(struct chunk_list *list, struct cursor *cursor, uint64_t n_bytes,
                   uint32_t source, uint64_t file_offset_bytes)
{
    while (n_bytes > 0) {
        uint64_t left_bytes = cursor->extent->n_pages * cursor->page_bytes - cursor->done_bytes;
        uint64_t n = n_bytes < left_bytes ? n_bytes : left_bytes;
        if (n == 0) {
            cursor->extent++;
            cursor->done_bytes = 0;
            continue;
        }
        if (n > cursor->chunk_bytes)
            n = cursor->chunk_bytes;
        struct chunk chunk = {
            .offset_bytes = cursor->extent->first_page * cursor->page_bytes + cursor->done_bytes,
            .file_offset_bytes = file_offset_bytes,
            .n_bytes = (uint32_t)n,
            .source = source,
        };
        int r = add_chunk(list, &chunk);
        if (r < 0)
            return r;
        cursor->done_bytes += n;
        file_offset_bytes += n;
        n_bytes -= n;
    }
    return 0;
}

static uint64_t block_floor(uint64_t offset_bytes)
{
    return offset_bytes & ~(piece_align_bytes() - 1);
}

int chunk_list_make(const struct layer *layer, const struct arena *arena, uint64_t chunk_bytes,
                    struct chunk_list *list)
{
    const struct layer_definition *definition = layer_definition(layer);
    struct cursor cursor = {allocation_extents(&layer->allocation), 0, arena_page_bytes(arena),
                            chunk_bytes};
    uint64_t total_bytes = layer->allocation.n_pages * cursor.page_bytes, done_bytes = 0;

    for (uint32_t i = 0; i < definition->n_pieces; i++) {
        const struct piece *piece = &definition->pieces[i];
        uint64_t begin = definition->shift_bytes + piece->layer_offset_bytes;
        uint64_t end = block_floor(begin + piece->bytes + piece_align_bytes() - 1);
        begin = block_floor(begin);
        assert(done_bytes <= begin && end <= total_bytes);
        int r = add_run(list, &cursor, begin - done_bytes, CHUNK_NO_SOURCE, 0);
        if (r == 0)
            r = add_run(list, &cursor, end - begin, piece->source,
                        block_floor(piece->file_offset_bytes));
        if (r < 0)
            return r;
        done_bytes = end;
    }
    return add_run(list, &cursor, total_bytes - done_bytes, CHUNK_NO_SOURCE, 0);
}
