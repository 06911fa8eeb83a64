/* Which bytes of a view belong to which unit. A unit is leased, mapped and unmapped as a whole.
 *
 * A unit's pieces are whole pages. Pages that two units share, and pages of no unit, are in no
 * piece and stay mapped from the file. A sealed table is immutable but for `is_moved`, and a signal
 * handler may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNIT_TABLE_PIECES_MAX = 250000, UNIT_NONE = -1 };

struct unit_piece {
    uint64_t begin_bytes, end_bytes; /* in the view */
    uint32_t unit;
    bool is_moved; /* see view.h; under the lock */
};

struct unit_table {
    char **names;      /* a unit's layer; owned */
    uint32_t *indices; /* ... and its index in the model */
    uint32_t n_units;
    struct unit_piece *pieces; /* by their place in the view once sealed */
    uint32_t n_pieces;
    uint32_t *of_units;     /* indices of pieces, those of one unit together and in order ... */
    uint32_t *begins;       /* ... from here on for each unit; n_units + 1 of them */
    uint64_t *bytes;        /* of each unit */
    uint64_t covered_bytes; /* of all pieces */
    uint64_t page_bytes, file_offset_bytes, n_bytes;
    size_t n_names_allocated, n_indices_allocated, n_pieces_allocated;
};

/* For a view of `n_bytes` of a file from `file_offset_bytes`, a multiple of the page size. */
void unit_table_init(struct unit_table *table, uint64_t page_bytes, uint64_t file_offset_bytes,
                     uint64_t n_bytes);
void unit_table_done(struct unit_table *table);

/* Adds consecutive bytes of a layer in the file. All calls for one layer come one after the other.
 * Bytes outside of the view are ignored. 0; -EBADMSG if the bytes are impossible; -E2BIG; -ENOMEM.
 */
int unit_table_add(struct unit_table *table, const char *layer, uint32_t index,
                   uint64_t file_offset_bytes, uint64_t n_bytes);

/* Sorts the pieces. 0; -EBADMSG if two overlap; -ENOMEM. */
int unit_table_seal(struct unit_table *table);

/* For begins[unit] <= i < begins[unit + 1]: the unit's pieces in the order of the view. */
static inline const struct unit_piece *unit_table_piece(const struct unit_table *table, uint32_t i)
{
    return &table->pieces[table->of_units[i]];
}

/* The index of the first piece that ends after `offset_bytes`, or n_pieces. */
uint32_t unit_table_lower(const struct unit_table *table, uint64_t offset_bytes);
/* The unit of this byte, or UNIT_NONE. */
int64_t unit_table_find(const struct unit_table *table, uint64_t offset_bytes);
