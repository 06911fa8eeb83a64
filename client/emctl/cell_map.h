/* A map of the arena: a row of cells, of which each model has as many as its share of the bytes.
 * Pure functions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum cell_kind {
    CELL_FREE,
    CELL_RESIDENT,
    CELL_LEASED,   /* clients hold these layers */
    CELL_STREAMED, /* layers of a run that take turns in the arena */
    CELL_LOADING,
};

struct cell {
    size_t owner; /* of the share; 0 for free cells */
    enum cell_kind kind;
};

/* Bytes of one kind that belong to one owner. */
struct cell_share {
    size_t owner;
    enum cell_kind kind;
    uint64_t bytes;
};

/* Gives `n_cells` cells for `capacity_bytes` to the shares, in their order. Each border between two
 * shares is rounded to a whole cell, so a share may have no cell, but all together have as many as
 * their sum. */
void cell_map_fill(struct cell *cells, size_t n_cells, uint64_t capacity_bytes,
                   const struct cell_share *shares, size_t n_shares);

enum { MODEL_SHARES = 4 };

/* The shares of a model: leased, resident, streamed and loading. A layer that is leased and
 * streamed counts as leased. */
void cell_map_share_model(struct cell_share shares[static MODEL_SHARES], size_t owner,
                          uint64_t resident_bytes, uint64_t leased_bytes, uint64_t streamed_bytes,
                          uint64_t loading_bytes);
