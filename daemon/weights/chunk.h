/* The chunks in which a layer is filled. Each lies in one extent of the arena, and comes from one
 * range of a file. */
#pragma once

#include "daemon/scheduler/model.h"

enum { CHUNK_NO_SOURCE = UINT32_MAX };

/* The bytes that one step writes. */
struct chunk {
    uint64_t offset_bytes; /* in the arena */
    uint64_t file_offset_bytes;
    uint32_t n_bytes;
    uint32_t source; /* number of the weight file, or CHUNK_NO_SOURCE for zeros */
};

struct chunk_list {
    struct chunk *elements; /* owned */
    size_t n, n_allocated;
};

/* Fills `list`, which must be empty, with chunks that cover every byte of the layer's pages once:
 * the blocks of its pieces, and zeros between and after them. No chunk is longer than
 * `chunk_bytes`. Returns 0 or -ENOMEM. */
int chunk_list_make(const struct layer *layer, const struct arena *arena, uint64_t chunk_bytes,
                    struct chunk_list *list);
