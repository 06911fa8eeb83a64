/* Describes where a resident layer's bytes lie in the arena and in the model's weight files. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "proto/fields.h"

/* The interface's Piece: bytes that are contiguous in the arena and in their file. */
struct piece_row {
    uint64_t source, file_offset_bytes, offset_bytes, n_bytes;
};
extern const struct field piece_fields[];

/* Describes a layer's pieces, divided where an extent ends. A layer without weights has none.
 * `rows` has room for layer_pieces_max. Returns how many rows there are. */
size_t describe_pieces(const struct scheduler *scheduler, const struct layer *layer,
                       struct piece_row *rows);
size_t layer_pieces_max(const struct layer *layer);
