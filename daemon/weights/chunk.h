/* The chunks that a layer is filled by: each in one extent of the arena and from one place of a
 * file. */
#pragma once

#include "daemon/scheduler/model.h"

enum { CHUNK_NO_SOURCE = UINT32_MAX };

/* What one step writes. */
struct chunk {
    uint64_t offset_bytes; /* in the arena */
    uint64_t file_offset_bytes;
    uint32_t n_bytes;
    uint32_t source; /* weight file, or CHUNK_NO_SOURCE: zeros */
};

struct chunk_list {
    struct chunk *elements; /* owned */
    size_t n, n_allocated;
};

/* Every byte of the layer's pages, once: the blocks of its pieces, and zeros between and after; no
 * chunk is longer than `chunk_bytes`. `list` is empty. 0 or -ENOMEM. */
int chunk_list_make(const struct layer *layer, const struct arena *arena, uint64_t chunk_bytes,
                    struct chunk_list *list);
