#include "client/emctl/cell_map.h"

void cell_map_fill(struct cell *cells, size_t n_cells, uint64_t capacity_bytes,
                   const struct cell_share *shares, size_t n_shares)
{
    double per_byte = capacity_bytes > 0 ? (double)n_cells / (double)capacity_bytes : 0;
    double end = 0.5; /* rounds to the nearest */
    size_t at = 0;

    for (size_t i = 0; i < n_shares; i++) {
        end += (double)shares[i].bytes * per_byte;
        for (; at < n_cells && (double)(at + 1) <= end; at++)
            cells[at] = (struct cell){shares[i].owner, shares[i].kind};
    }
    for (; at < n_cells; at++)
        cells[at] = (struct cell){0, CELL_FREE};
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void cell_map_share_model(struct cell_share shares[static MODEL_SHARES], size_t owner,
                          uint64_t resident_bytes, uint64_t leased_bytes, uint64_t streamed_bytes,
                          uint64_t loading_bytes)
{
    uint64_t leased = smaller(leased_bytes, resident_bytes);
    uint64_t streamed = smaller(streamed_bytes, resident_bytes - leased);

    shares[0] = (struct cell_share){owner, CELL_LEASED, leased};
    shares[1] = (struct cell_share){owner, CELL_RESIDENT, resident_bytes - leased - streamed};
    shares[2] = (struct cell_share){owner, CELL_STREAMED, streamed};
    shares[3] = (struct cell_share){owner, CELL_LOADING, loading_bytes};
}
