/* Several layers are described one after the other: the offsets of a layer's tensors count from the
 * first byte of the first layer. The loop describes what may change, segments and pieces; a worker
 * may describe the rest. */
#include "daemon/methods/acquisition_reply.h"

#include "daemon/methods/layer_pieces.h"
#include "daemon/methods/tensor_rows.h"

#include <errno.h>
#include <inttypes.h>

struct segment_row {
    uint64_t offset_bytes, n_bytes;
};

static const struct field segment_fields[] = {
    {"offset", FIELD_U64, offsetof(struct segment_row, offset_bytes)},
    {"length", FIELD_U64, offsetof(struct segment_row, n_bytes)},
    {0},
};

/* All that a reply says, with what it refers to. */
struct acquisition_reply {
    struct reply_source source;
    struct definition *definition; /* a reference */
    char lease_text[24], layer_text[DEFINITION_NAME_MAX + 1];
    struct segment_row *segment_rows;
    struct piece_row *piece_rows;
    struct tensor_row *tensor_rows;
    const char *lease, *layer;
    uint64_t bytes, fill_id;
    struct field_array segments, pieces, tensors;
    uint64_t arena_fd_index; /* UINT64_MAX: none */
    uint64_t index, pass;
    bool hit;
    uint32_t n_layers;
    const struct layer_definition *layers[];
};

#define AT(member) offsetof(struct acquisition_reply, member)
#define LEASE_FIELDS                                                         \
    {"lease", FIELD_STRING, AT(lease)}, {"layer", FIELD_STRING, AT(layer)},  \
        {"bytes", FIELD_U64, AT(bytes)}, {"fill", FIELD_U64, AT(fill_id)},   \
        {"segments", FIELD_OBJECTS, AT(segments), 0, segment_fields},        \
        {"pieces", FIELD_OBJECTS, AT(pieces), 0, piece_fields},              \
        {"tensors", FIELD_OBJECTS, AT(tensors), 0, tensor_fields},           \
    {                                                                        \
        "arenaFileDescriptor", FIELD_U64, AT(arena_fd_index), FIELD_NULLABLE \
    }

static const struct field acquire_fields[] = {LEASE_FIELDS, {0}};
static const struct field next_fields[] = {LEASE_FIELDS,
                                           {"index", FIELD_U64, AT(index)},
                                           {"pass", FIELD_U64, AT(pass)},
                                           {"hit", FIELD_BOOL, AT(hit)},
                                           {0}};

/* Describes where a resident layer's bytes lie in the arena. `rows` has room for all of its
 * extents. Returns how many rows there are. */
static size_t describe_segments(const struct scheduler *scheduler, const struct layer *layer,
                                struct segment_row *rows)
{
    uint64_t page_bytes = arena_page_bytes(scheduler_arena(scheduler));
    uint64_t skip_bytes = layer_definition(layer)->shift_bytes;
    uint64_t left_bytes = layer_definition(layer)->bytes;
    const struct extent *extent = allocation_extents(&layer->allocation);
    const struct extent *end = allocation_end(&layer->allocation);
    size_t n = 0;

    for (; extent < end && left_bytes > 0; extent++) {
        uint64_t n_bytes = extent->n_pages * page_bytes - skip_bytes;
        if (n_bytes > left_bytes)
            n_bytes = left_bytes;
        rows[n++] = (struct segment_row){extent->first_page * page_bytes + skip_bytes, n_bytes};
        left_bytes -= n_bytes;
        skip_bytes = 0;
    }
    return n;
}

static void reply_free(struct reply_source *source)
{
    struct acquisition_reply *reply = (struct acquisition_reply *)source;
    definition_unref(reply->definition);
    free(reply->segment_rows);
    free(reply->piece_rows);
    free(reply->tensor_rows);
    free(reply);
}

struct acquisition_reply *acquisition_reply_free(struct acquisition_reply *reply)
{
    if (reply)
        reply_free(&reply->source);
    return NULL;
}

/* The tensors are in the definition, which any thread may read. */
static int complete(struct reply_source *source)
{
    struct acquisition_reply *reply = (struct acquisition_reply *)source;
    struct tensor_row *rows = calloc(reply->tensors.n_items + 1, sizeof *rows);
    uint64_t begin_bytes = 0;
    size_t n = 0;

    if (!rows)
        return -ENOMEM;
    for (uint32_t i = 0; i < reply->n_layers; i++) {
        const struct layer_definition *layer = reply->layers[i];
        describe_tensors(layer, 0, layer->n_tensors, rows + n);
        for (uint32_t j = 0; j < layer->n_tensors; j++)
            rows[n++].offset_bytes += begin_bytes;
        begin_bytes += layer->bytes;
    }
    reply->tensor_rows = rows;
    reply->tensors.items = rows;
    return 0;
}

/* Makes the rows of segments and pieces. Returns 0 or -ENOMEM. */
static int describe_places(struct acquisition_reply *reply, const struct scheduler *scheduler,
                           const struct layer_set *set)
{
    size_t n_segments = 0, n_pieces = 0;

    for (uint32_t i = 0; i < set->n; i++) {
        n_segments += allocation_n_extents(&set->layers[i]->allocation);
        n_pieces += layer_pieces_max(set->layers[i]);
    }
    reply->segment_rows = calloc(n_segments + 1, sizeof *reply->segment_rows);
    reply->piece_rows = calloc(n_pieces + 1, sizeof *reply->piece_rows);
    if (!reply->segment_rows || !reply->piece_rows)
        return -ENOMEM;
    n_segments = n_pieces = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        n_segments +=
            describe_segments(scheduler, set->layers[i], reply->segment_rows + n_segments);
        n_pieces += describe_pieces(scheduler, set->layers[i], reply->piece_rows + n_pieces);
    }
    reply->segments =
        (struct field_array){reply->segment_rows, n_segments, sizeof *reply->segment_rows};
    reply->pieces = (struct field_array){reply->piece_rows, n_pieces, sizeof *reply->piece_rows};
    return 0;
}

struct acquisition_reply *acquisition_reply_new(const struct scheduler *scheduler,
                                                const struct layer_set *set, const struct run *run,
                                                bool hit)
{
    const struct layer *first = set->layers[0];
    struct acquisition_reply *reply = calloc(1, sizeof *reply + set->n * sizeof *reply->layers);
    if (!reply)
        return NULL;
    *reply = (struct acquisition_reply){
        .source = {run ? next_fields : acquire_fields, complete, reply_free},
        .definition = definition_ref(first->model->definition),
        .tensors.item_bytes = sizeof *reply->tensor_rows,
        .fill_id = layer_set_fill_id(set),
        .index = first->index,
        .pass = run ? run->n_passes : 0,
        .hit = hit,
        .n_layers = set->n,
    };
    for (uint32_t i = 0; i < set->n; i++) {
        const struct layer *layer = set->layers[i];
        reply->layers[i] = layer_definition(layer);
        reply->bytes += layer_definition(layer)->bytes;
        reply->tensors.n_items += layer_definition(layer)->n_tensors;
    }
    snprintf(reply->layer_text, sizeof reply->layer_text, "%s",
             set->units_of ? set->units_of : layer_definition(first)->name);
    reply->layer = reply->layer_text;
    return describe_places(reply, scheduler, set) == 0 ? reply : acquisition_reply_free(reply);
}

void acquisition_reply_send(struct acquisition_reply *reply, struct workers *workers,
                            struct call *call, uint64_t lease_id, uint64_t arena_fd_index)
{
    snprintf(reply->lease_text, sizeof reply->lease_text, "%" PRIu64, lease_id);
    reply->lease = reply->lease_text;
    reply->arena_fd_index = arena_fd_index;
    long_reply_send(workers, call, &reply->source,
                    reply->tensors.n_items + reply->segments.n_items + reply->pieces.n_items >
                        LONG_REPLY_ELEMENTS);
}
