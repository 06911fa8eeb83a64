/* Where the bytes of a resident layer stand: in the arena and in the model's weight files. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "proto/fields.h"

/* The interface's Piece: contiguous in the arena and in its file. */
struct piece_row {
    uint64_t source, file_offset_bytes, offset_bytes, n_bytes;
};
extern const struct field piece_fields[];

/* A layer's pieces, cut where an extent ends; free the rows. None without weights. 0 or -ENOMEM. */
int describe_pieces(const struct scheduler *scheduler, const struct layer *layer,
                    struct piece_row **ret, size_t *ret_n);
