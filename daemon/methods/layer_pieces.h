/* Describes where a resident layer's bytes lie in the arena and in the model's weight files. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "proto/fields.h"

/* The interface's Piece: bytes that are contiguous in the arena and in their file. */
struct piece_row {
    uint64_t source, file_offset_bytes, offset_bytes, n_bytes;
};
extern const struct field piece_fields[];

/* Describes a layer's pieces, divided where an extent ends. A layer without weights has none. The
 * caller frees the rows. Returns 0 or -ENOMEM. */
int describe_pieces(const struct scheduler *scheduler, const struct layer *layer,
                    struct piece_row **ret, size_t *ret_n);
