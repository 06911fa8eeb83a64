/* Binds a definition's layers to the bytes of weight files, and places these bytes in the layer.
 * The definition, or weights_group.c, decides which tensors make a layer. */
#include "common/formats/weights.h"

#include "common/definition/definition_pool.h"
#include "common/definition/definition_value.h"
#include "common/formats/weights_index.h"
#include "common/memory_budget.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* A tensor of the present layer. */
struct member {
    struct tensor *tensor;
    const struct weights_tensor *found;
};

struct binding {
    struct definition *definition;
    const struct weights_index *index;
    struct definition_problem *problem;
    struct member *members; /* room for the tensors of the largest layer */
    struct piece *pieces;   /* at most one per member */
};

/* "F32 [64, 2]"; cut if it is too long. */
static const char *describe(dtype type, const uint64_t *shape, unsigned n_dims, char *text,
                            size_t size)
{
    int n = snprintf(text, size, "%s [", dtype_name(type));

    for (unsigned i = 0; i < n_dims && n >= 0 && (size_t)n < size; i++)
        n += snprintf(text + n, size - (size_t)n, "%s%" PRIu64, i ? ", " : "", shape[i]);
    if (n >= 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "]");
    return text;
}

static int find_member(const struct binding *binding, struct tensor *tensor,
                       const struct place *place, struct member *ret)
{
    const struct weights_tensor *found = weights_index_find(binding->index, tensor->name);
    char here[112], there[112];

    if (!found)
        return definition_refuse(binding->problem, place, "no weight file has this tensor");
    const struct tensor_entry *entry = found->entry;
    if (entry->type != tensor->type || entry->n_dims != tensor->n_dims ||
        memcmp(entry->shape, tensor->shape, tensor->n_dims * sizeof tensor->shape[0]) != 0)
        return definition_refuse(
            binding->problem, place, "is %s, but %s in the weights",
            describe(tensor->type, tensor->shape, tensor->n_dims, here, sizeof here),
            describe(entry->type, entry->shape, entry->n_dims, there, sizeof there));
    *ret = (struct member){tensor, found};
    return 0;
}

/* Orders by file, and by place in the file: the order of the entries, except for empty ones. */
static int compare_members(const void *a, const void *b)
{
    const struct weights_tensor *x = ((const struct member *)a)->found,
                                *y = ((const struct member *)b)->found;

    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

/* Whether there is only padding between the two, so that they make one piece. `next` comes after
 * `previous`, and both have bytes. */
static bool touch(const struct weights_tensor *previous, const struct weights_tensor *next)
{
    if (previous->source != next->source)
        return false;
    uint64_t end = previous->entry->file_offset_bytes + previous->entry->bytes;
    if (next->entry->file_offset_bytes - end >= piece_align_bytes())
        return false;
    for (const struct tensor_entry *between = previous->entry + 1; between < next->entry; between++)
        if (between->bytes > 0)
            return false;
    return true;
}

/* Finds the first offset in the layer that agrees with `file_offset_bytes` modulo piece_align_bytes
 * and is in a later block than the byte before `end_bytes`. 0 or -EOVERFLOW. */
static int next_block(const struct layer_definition *layer, uint64_t end_bytes,
                      uint64_t file_offset_bytes, uint64_t *ret)
{
    uint64_t start;

    if (__builtin_add_overflow(end_bytes, layer->shift_bytes + piece_align_bytes() - 1, &start))
        return -EOVERFLOW;
    start -= start % piece_align_bytes();
    if (__builtin_add_overflow(start, file_offset_bytes % piece_align_bytes(), &start))
        return -EOVERFLOW;
    *ret = start - layer->shift_bytes;
    return 0;
}

/* Places the sorted members: fills the binding's pieces, the layer's figures and the tensors'
 * offsets. 0 or -EOVERFLOW. */
static int place_members(const struct binding *binding, struct layer_definition *layer)
{
    const struct weights_tensor *previous = NULL; /* that has bytes */
    struct piece *piece = NULL;
    uint64_t end_bytes = 0;

    layer->n_pieces = 0;
    layer->shift_bytes = 0;
    for (uint32_t i = 0; i < layer->n_tensors; i++) {
        const struct weights_tensor *found = binding->members[i].found;
        const struct tensor_entry *entry = found->entry;
        if (entry->bytes == 0) {
            binding->members[i].tensor->offset_bytes = end_bytes;
            continue;
        }
        if (found == previous) { /* under another name */
            binding->members[i].tensor->offset_bytes = binding->members[i - 1].tensor->offset_bytes;
            continue;
        }
        if (!previous || !touch(previous, found)) {
            uint64_t offset_bytes = 0;
            if (!previous)
                layer->shift_bytes = (uint32_t)(entry->file_offset_bytes % piece_align_bytes());
            else if (next_block(layer, end_bytes, entry->file_offset_bytes, &offset_bytes) < 0)
                return -EOVERFLOW;
            piece = &binding->pieces[layer->n_pieces++];
            *piece = (struct piece){
                .file_offset_bytes = entry->file_offset_bytes,
                .layer_offset_bytes = offset_bytes,
                .source = found->source,
            };
        }
        uint64_t in_piece_bytes = entry->file_offset_bytes - piece->file_offset_bytes;
        piece->bytes = in_piece_bytes + entry->bytes;
        if (__builtin_add_overflow(piece->layer_offset_bytes, piece->bytes, &end_bytes))
            return -EOVERFLOW;
        binding->members[i].tensor->offset_bytes = piece->layer_offset_bytes + in_piece_bytes;
        previous = found;
    }
    layer->bytes = end_bytes;
    return 0;
}

static int bind_layer(struct binding *binding, struct layer_definition *layer,
                      const struct place *place)
{
    struct definition *definition = binding->definition;
    struct place array = {.parent = place, .key = "tensors"};

    if (layer->n_tensors == 0)
        return definition_refuse(binding->problem, place,
                                 "has no tensors, but the model has weights");
    for (uint32_t i = 0; i < layer->n_tensors; i++) {
        struct place here = {.parent = &array, .index = i};
        /* The pool's memory is writable here. It is const only for the users of the finished
         * definition. */
        struct tensor *tensor = (struct tensor *)&layer->tensors[i];
        int r = find_member(binding, tensor, &here, &binding->members[i]);
        if (r < 0)
            return r;
    }
    qsort(binding->members, layer->n_tensors, sizeof *binding->members, compare_members);
    if (place_members(binding, layer) < 0)
        return definition_refuse(binding->problem, place, "has more than 2^64 - 1 bytes");
    if (__builtin_add_overflow(definition->bytes, layer->bytes, &definition->bytes))
        return definition_refuse(binding->problem, place, "the model has more than 2^64 - 1 bytes");
    size_t n_bytes = layer->n_pieces * sizeof *layer->pieces;
    struct piece *pieces = definition_pool_alloc(definition->pool, n_bytes);
    if (!pieces)
        return -ENOMEM;
    layer->pieces = memcpy(pieces, binding->pieces, n_bytes);
    return 0;
}

int weights_bind_index(struct definition *definition, const struct weights_index *index,
                       struct definition_problem *problem)
{
    struct place array = {.key = "layers"};
    uint32_t n_members_max = 1;

    for (uint32_t i = 0; i < definition->n_layers; i++)
        if (definition->layers[i].n_tensors > n_members_max)
            n_members_max = definition->layers[i].n_tensors;
    _cleanup_(freep) struct member *members = memory_budget_calloc(n_members_max, sizeof *members);
    _cleanup_(freep) struct piece *pieces = memory_budget_calloc(n_members_max, sizeof *pieces);
    if (!members || !pieces)
        return -ENOMEM;
    struct binding binding = {definition, index, problem, members, pieces};

    definition->bytes = 0;
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        struct place place = {.parent = &array, .index = i};
        int r = bind_layer(&binding, &definition->layers[i], &place);
        if (r < 0)
            return r;
    }
    return 0;
}

int weights_bind(struct definition *definition, struct tensor_file *const *files, uint32_t n_files,
                 struct definition_problem *ret_problem)
{
    struct weights_index index;

    int r = weights_index_init(&index, files, n_files, ret_problem);
    if (r < 0)
        return r;
    r = weights_bind_index(definition, &index, ret_problem);
    weights_index_done(&index);
    return r;
}
