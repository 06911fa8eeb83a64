/* All tensors get new entries, in the order of the files and of their bytes, because a binding
 * compares entries by their addresses. */
#include "common/formats/weights_slice.h"

#include "common/definition/definition_pool.h"
#include "common/definition/definition_value.h"
#include "common/definition/tensor_units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* How a tensor is sliced. */
struct cut {
    uint64_t n_slices; /* 1: it stays whole */
    uint64_t rows;     /* of the outermost dimension, in a slice; the last one may have fewer */
    int64_t unit;      /* if it stays whole: the expert that it belongs to, or -1 */
};

struct slicing {
    const struct weights_tensor **order; /* all tensors in the order of the files */
    bool *has_alias;                     /* of each tensor of the index */
    struct tensor_entry *entries;
    struct weights_tensor *tensors;
    uint64_t n_tensors;
    const char *last; /* a fused tensor of the present layer; or NULL */
    uint64_t n_experts;
};

static int compare_positions(const void *left, const void *right)
{
    const struct weights_tensor *a = *(const struct weights_tensor *const *)left;
    const struct weights_tensor *b = *(const struct weights_tensor *const *)right;
    return (a->position > b->position) - (a->position < b->position);
}

/* Whether the names are equal up to the word that says that the tensor has experts. */
static bool is_same_layer(const char *left, const char *right)
{
    const char *experts = strstr(left, "experts."), *dot = strstr(left, "_exps.");
    size_t n = experts ? (size_t)(experts - left) : 0;

    while (!experts && dot && dot > left && *dot != '.')
        dot--;
    if (!experts && dot)
        n = (size_t)(dot - left) + 1;
    return strncmp(left, right, n) == 0 && tensor_is_fused(right);
}

/* The experts of one layer must be equally many in all of its tensors. */
static bool has_experts(struct slicing *slicing, const struct tensor_entry *entry)
{
    const struct tensor tensor = {.name = entry->name,
                                  .shape = entry->shape,
                                  .bytes = entry->bytes,
                                  .n_dims = entry->n_dims,
                                  .type = entry->type};

    if (!slicing->last || !is_same_layer(slicing->last, entry->name))
        slicing->n_experts = 0;
    if (tensor_find_obstacle(&tensor, slicing->n_experts))
        return false;
    slicing->last = entry->name;
    slicing->n_experts = entry->shape[0];
    return true;
}

/* Rows of a table for a chunk; 0: it is not cut. */
static uint64_t chunk_rows(const struct tensor_entry *entry)
{
    uint64_t row_bytes, n = 1;

    for (unsigned i = 1; i < entry->n_dims; i++)
        if (__builtin_mul_overflow(n, entry->shape[i], &n))
            return 0;
    if (entry->bytes <= UNIT_CHUNK_BYTES || dtype_bytes(entry->type, n, &row_bytes) < 0 ||
        row_bytes == 0 || row_bytes * entry->shape[0] != entry->bytes)
        return 0;
    return row_bytes >= UNIT_CHUNK_BYTES ? 1 : UNIT_CHUNK_BYTES / row_bytes;
}

static struct cut find_cut(struct slicing *slicing, const struct weights_index *index,
                           const struct weights_tensor *tensor)
{
    const struct tensor_entry *entry = tensor->entry;
    int64_t expert = tensor_expert(entry->name);
    struct cut whole = {1, 0, entry->bytes > 0 ? expert : -1};

    if (expert >= 0 || entry->n_dims < 2 || slicing->has_alias[tensor - index->tensors] ||
        strlen(entry->name) + WEIGHTS_SLICE_SUFFIX_MAX > DEFINITION_NAME_MAX)
        return whole;
    if (tensor_is_fused(entry->name))
        return has_experts(slicing, entry) && entry->bytes / entry->shape[0] >= piece_align_bytes()
                   ? (struct cut){entry->shape[0], 1, -1}
                   : whole;
    uint64_t rows = tensor_is_table(entry->name, entry->n_dims) ? chunk_rows(entry) : 0;
    return rows > 0 ? (struct cut){(entry->shape[0] - 1) / rows + 1, rows, -1} : whole;
}

static struct weights_tensor *add(struct slicing *slicing, const struct weights_tensor *from)
{
    struct tensor_entry *entry = &slicing->entries[slicing->n_tensors];
    struct weights_tensor *tensor = &slicing->tensors[slicing->n_tensors];

    *entry = *from->entry;
    *tensor = *from;
    tensor->entry = entry;
    tensor->position = (uint32_t)slicing->n_tensors++;
    return tensor;
}

static int add_slices(struct slicing *slicing, struct definition_pool *pool,
                      const struct weights_tensor *from, const struct cut *cut)
{
    const struct tensor_entry *whole = from->entry;
    uint64_t row_bytes = whole->bytes / whole->shape[0];

    for (uint64_t i = 0; i < cut->n_slices; i++) {
        uint64_t first = i * cut->rows, left = whole->shape[0] - first;
        uint64_t *shape = definition_pool_alloc(pool, whole->n_dims * sizeof *shape);
        char name[DEFINITION_NAME_MAX + 1];
        int n = snprintf(name, sizeof name, "%s[%" PRIu64 "]", whole->name, i);
        char *copy = definition_pool_string(pool, (size_t)n);
        if (!shape || !copy)
            return -ENOMEM;
        memcpy(copy, name, (size_t)n);
        memcpy(shape, whole->shape, whole->n_dims * sizeof *shape);
        shape[0] = left < cut->rows ? left : cut->rows;
        struct weights_tensor *tensor = add(slicing, from);
        struct tensor_entry *entry = &slicing->entries[tensor->position];
        entry->name = copy;
        entry->shape = shape;
        entry->file_offset_bytes = whole->file_offset_bytes + first * row_bytes;
        entry->bytes = shape[0] * row_bytes;
        tensor->unit = (int32_t)i;
    }
    return 0;
}

static int find_order(struct slicing *slicing, const struct weights_index *index)
{
    slicing->order = reallocarray(NULL, (size_t)index->n_tensors + 1, sizeof *slicing->order);
    slicing->has_alias = calloc((size_t)index->n_tensors + 1, sizeof *slicing->has_alias);
    if (!slicing->order || !slicing->has_alias)
        return -ENOMEM;
    for (uint32_t i = 0; i < index->n_aliases; i++)
        slicing->has_alias[index->aliases[i].tensor - index->tensors] = true;
    for (uint32_t i = 0; i < index->n_tensors; i++)
        slicing->order[i] = &index->tensors[i];
    qsort(slicing->order, index->n_tensors, sizeof *slicing->order, compare_positions);
    return 0;
}

/* Sets `ret_n` to how many tensors there will be; 0: it is not worth it. */
static int check_number(struct slicing *slicing, const struct weights_index *index,
                        struct definition_problem *problem, uint64_t *ret_n)
{
    uint64_t n = 0;
    long double bytes = 0, unit_bytes = 0;

    for (uint32_t i = 0; i < index->n_tensors; i++) {
        struct cut cut = find_cut(slicing, index, slicing->order[i]);
        struct place place = {.key = slicing->order[i]->entry->name};
        n += cut.n_slices;
        bytes += slicing->order[i]->entry->bytes;
        unit_bytes += cut.n_slices > 1 || cut.unit >= 0 ? slicing->order[i]->entry->bytes : 0;
        if (cut.n_slices > DEFINITION_TENSORS_MAX || n > DEFINITION_TENSORS_MAX)
            return definition_refuse(problem, &place,
                                     "has %" PRIu64 " units, and with these the model has more "
                                     "than %d tensors",
                                     cut.n_slices, DEFINITION_TENSORS_MAX);
    }
    slicing->last = NULL;
    *ret_n = 2 * unit_bytes >= bytes && unit_bytes > 0 ? n : 0;
    return 0;
}

static int slice(struct slicing *slicing, struct weights_index *index,
                 struct definition_problem *problem)
{
    uint64_t n = 0;
    int r = find_order(slicing, index);
    if (r == 0)
        r = check_number(slicing, index, problem, &n);
    if (r < 0 || n == 0)
        return r;
    slicing->entries = calloc(n + 1, sizeof *slicing->entries);
    slicing->tensors = calloc(n + 1, sizeof *slicing->tensors);
    index->pool = definition_pool_new();
    if (!slicing->entries || !slicing->tensors || !index->pool)
        return -ENOMEM;
    for (uint32_t i = 0; i < index->n_tensors && r == 0; i++) {
        struct cut cut = find_cut(slicing, index, slicing->order[i]);
        if (cut.n_slices > 1)
            r = add_slices(slicing, index->pool, slicing->order[i], &cut);
        else
            add(slicing, slicing->order[i])->unit = (int32_t)cut.unit;
    }
    return r;
}

int weights_slice(struct weights_index *index, struct definition_problem *problem)
{
    struct slicing slicing = {0};
    int r = slice(&slicing, index, problem);
    free(slicing.order);
    free(slicing.has_alias);
    if (r == 0 && slicing.n_tensors == 0)
        return 0;
    if (r == 0)
        r = weights_index_replace(index, slicing.tensors, (uint32_t)slicing.n_tensors, problem);
    if (r < 0) {
        free(slicing.entries);
        free(slicing.tensors);
        return r;
    }
    index->entries = slicing.entries;
    return 0;
}
