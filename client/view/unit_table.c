/* Grows two arrays while the daemon lists the pieces, then sorts one of them and searches it. */
#include "client/view/unit_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void unit_table_init(struct unit_table *table, uint64_t page_bytes, uint64_t file_offset_bytes,
                     uint64_t n_bytes)
{
    *table = (struct unit_table){
        .page_bytes = page_bytes, .file_offset_bytes = file_offset_bytes, .n_bytes = n_bytes};
}

void unit_table_done(struct unit_table *table)
{
    for (uint32_t i = 0; i < table->n_units; i++)
        free(table->names[i]);
    free(table->names);
    free(table->indices);
    free(table->pieces);
    free(table->of_units);
    free(table->begins);
    free(table->bytes);
    *table = (struct unit_table){0};
}

static int grow(void **array, size_t *n_allocated, size_t n, size_t element_bytes)
{
    if (n < *n_allocated)
        return 0;
    size_t n_new = *n_allocated ? 2 * *n_allocated : 16;
    void *larger = reallocarray(*array, n_new, element_bytes);
    if (!larger)
        return -ENOMEM;
    *array = larger;
    *n_allocated = n_new;
    return 0;
}

static int add_unit(struct unit_table *table, const char *layer, uint32_t index)
{
    if (table->n_units > 0 && strcmp(table->names[table->n_units - 1], layer) == 0)
        return 0;
    int r = grow((void **)&table->names, &table->n_names_allocated, table->n_units,
                 sizeof *table->names);
    if (r == 0)
        r = grow((void **)&table->indices, &table->n_indices_allocated, table->n_units,
                 sizeof *table->indices);
    char *copy = r == 0 ? strdup(layer) : NULL;
    if (!copy)
        return -ENOMEM;
    table->indices[table->n_units] = index;
    table->names[table->n_units++] = copy;
    return 0;
}

int unit_table_add(struct unit_table *table, const char *layer, uint32_t index,
                   uint64_t file_offset_bytes, uint64_t n_bytes)
{
    uint64_t end, begin, view_end, mask = table->page_bytes - 1;

    if (n_bytes == 0 || __builtin_add_overflow(file_offset_bytes, n_bytes, &end) ||
        end > INT64_MAX ||
        __builtin_add_overflow(table->file_offset_bytes, table->n_bytes, &view_end))
        return -EBADMSG;
    begin = (file_offset_bytes + mask) & ~mask;
    end &= ~mask;
    if (begin < table->file_offset_bytes)
        begin = table->file_offset_bytes;
    if (end > view_end)
        end = view_end & ~mask;
    if (begin >= end)
        return 0;
    if (table->n_pieces == UNIT_TABLE_PIECES_MAX)
        return -E2BIG;
    int r = add_unit(table, layer, index);
    if (r == 0)
        r = grow((void **)&table->pieces, &table->n_pieces_allocated, table->n_pieces,
                 sizeof *table->pieces);
    if (r < 0)
        return r;
    table->pieces[table->n_pieces++] =
        (struct unit_piece){.begin_bytes = begin - table->file_offset_bytes,
                            .end_bytes = end - table->file_offset_bytes,
                            .unit = table->n_units - 1};
    table->covered_bytes += end - begin;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct unit_piece *left = a, *right = b;
    return (left->begin_bytes > right->begin_bytes) - (left->begin_bytes < right->begin_bytes);
}

/* Groups the sorted pieces by their units, with a counting sort. */
static int index_units(struct unit_table *table)
{
    table->of_units = reallocarray(NULL, (size_t)table->n_pieces + 1, sizeof *table->of_units);
    table->begins = calloc((size_t)table->n_units + 2, sizeof *table->begins);
    table->bytes = calloc((size_t)table->n_units + 1, sizeof *table->bytes);
    if (!table->of_units || !table->begins || !table->bytes)
        return -ENOMEM;
    /* Counts two places further on, so that filling the places leaves the beginnings. */
    for (uint32_t i = 0; i < table->n_pieces; i++)
        table->begins[table->pieces[i].unit + 2]++;
    for (uint32_t i = 2; i <= table->n_units; i++)
        table->begins[i] += table->begins[i - 1];
    for (uint32_t i = 0; i < table->n_pieces; i++) {
        const struct unit_piece *piece = &table->pieces[i];
        table->of_units[table->begins[piece->unit + 1]++] = i;
        table->bytes[piece->unit] += piece->end_bytes - piece->begin_bytes;
    }
    return 0;
}

int unit_table_seal(struct unit_table *table)
{
    if (table->n_pieces > 0)
        qsort(table->pieces, table->n_pieces, sizeof *table->pieces, compare);
    for (uint32_t i = 1; i < table->n_pieces; i++)
        if (table->pieces[i].begin_bytes < table->pieces[i - 1].end_bytes)
            return -EBADMSG;
    return index_units(table);
}

uint32_t unit_table_lower(const struct unit_table *table, uint64_t offset_bytes)
{
    uint32_t low = 0, high = table->n_pieces;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->pieces[middle].end_bytes <= offset_bytes)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t unit_table_find(const struct unit_table *table, uint64_t offset_bytes)
{
    uint32_t i = unit_table_lower(table, offset_bytes);
    return i < table->n_pieces && table->pieces[i].begin_bytes <= offset_bytes
               ? (int64_t)table->pieces[i].unit
               : UNIT_NONE;
}
