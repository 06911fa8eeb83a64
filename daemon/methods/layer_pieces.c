/* Walks through a layer's pieces and extents side by side. Both are in the order of their bytes in
 * the layer, so it visits each of them once. */
#include "daemon/methods/layer_pieces.h"

const struct field piece_fields[] = {
    {"source", FIELD_U64, offsetof(struct piece_row, source)},
    {"fileOffset", FIELD_U64, offsetof(struct piece_row, file_offset_bytes)},
    {"offset", FIELD_U64, offsetof(struct piece_row, offset_bytes)},
    {"length", FIELD_U64, offsetof(struct piece_row, n_bytes)},
    {0},
};

/* An extent of an array, and the offset of its first page from the layer's first page. */
struct place {
    const struct extent *extent;
    uint64_t begin_bytes;
    uint64_t page_bytes;
};

static uint64_t place_end(const struct place *place)
{
    return place->begin_bytes + place->extent->n_pages * place->page_bytes;
}

/* Adds the rows of one piece. */
static size_t cut(struct place *place, const struct layer_definition *layer,
                  const struct piece *piece, struct piece_row *rows)
{
    uint64_t at = layer->shift_bytes + piece->layer_offset_bytes, end = at + piece->bytes;
    uint64_t file_offset_bytes = piece->file_offset_bytes;
    size_t n = 0;

    while (at < end) {
        while (place_end(place) <= at) {
            place->begin_bytes = place_end(place);
            place->extent++;
        }
        uint64_t stop = place_end(place) < end ? place_end(place) : end;
        rows[n++] = (struct piece_row){
            .source = piece->source,
            .file_offset_bytes = file_offset_bytes,
            .offset_bytes =
                place->extent->first_page * place->page_bytes + (at - place->begin_bytes),
            .n_bytes = stop - at,
        };
        file_offset_bytes += stop - at;
        at = stop;
    }
    return n;
}

size_t layer_pieces_max(const struct layer *layer)
{
    uint32_t n = layer_definition(layer)->n_pieces;
    return n > 0 ? n + allocation_n_extents(&layer->allocation) : 0;
}

size_t describe_pieces(const struct scheduler *scheduler, const struct layer *layer,
                       struct piece_row *rows)
{
    const struct layer_definition *definition = layer_definition(layer);
    struct place place = {allocation_extents(&layer->allocation), 0,
                          arena_page_bytes(scheduler_arena(scheduler))};
    size_t n = 0;

    for (uint32_t i = 0; i < definition->n_pieces; i++)
        n += cut(&place, definition, &definition->pieces[i], rows + n);
    return n;
}
