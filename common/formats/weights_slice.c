/* All tensors get new entries, in the order of the files and of their bytes, because a binding
 * compares entries by their addresses. */
#include "common/formats/weights_slice.h"

#include "common/definition/definition_pool.h"
#include "common/definition/definition_value.h"
#include "common/definition/tensor_units.h"
#include "common/memory_budget.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* How a tensor is sliced. */
struct cut {
    uint64_t n_slices; /* 1: it stays whole */
    uint64_t rows;     /* of the outermost dimension, in a slice; the last one may have fewer */
    int64_t unit;      /* if it stays whole: the expert that it belongs to, or -1 */
    bool by_chance;    /* each slice is a unit */
};

struct slicing {
    uint64_t slice_bytes;                /* at most, of tensors that are not used by chance */
    bool by_chance;                      /* experts and tables are units */
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

/* Bytes of a row of the outermost dimension; 0: the tensor cannot be cut between rows. */
static uint64_t row_bytes_of(const struct tensor_entry *entry)
{
    uint64_t row_bytes, n = 1;

    for (unsigned i = 1; i < entry->n_dims; i++)
        if (__builtin_mul_overflow(n, entry->shape[i], &n))
            return 0;
    return dtype_bytes(entry->type, n, &row_bytes) < 0 || row_bytes == 0 ||
                   entry->bytes / row_bytes != entry->shape[0] || entry->bytes % row_bytes != 0
               ? 0
               : row_bytes;
}

static struct cut cut_rows(const struct tensor_entry *entry, uint64_t rows, bool by_chance)
{
    return (struct cut){(entry->shape[0] - 1) / rows + 1, rows, -1, by_chance};
}

static struct cut find_cut(struct slicing *slicing, const struct weights_index *index,
                           const struct weights_tensor *tensor)
{
    const struct tensor_entry *entry = tensor->entry;
    int64_t expert = slicing->by_chance ? tensor_expert(entry->name) : -1;
    struct cut whole = {1, 0, entry->bytes > 0 ? expert : -1, false};

    if (expert >= 0 || entry->n_dims < 2 || slicing->has_alias[tensor - index->tensors] ||
        strlen(entry->name) + WEIGHTS_SLICE_SUFFIX_MAX > DEFINITION_NAME_MAX)
        return whole;
    if (slicing->by_chance && tensor_is_fused(entry->name))
        return has_experts(slicing, entry) && entry->bytes / entry->shape[0] >= piece_align_bytes()
                   ? cut_rows(entry, 1, true)
                   : whole;
    bool is_chunked = slicing->by_chance && tensor_is_table(entry->name, entry->n_dims);
    uint64_t slice_bytes = is_chunked ? UNIT_CHUNK_BYTES : slicing->slice_bytes;
    uint64_t row_bytes = entry->bytes > slice_bytes ? row_bytes_of(entry) : 0;
    if (row_bytes == 0)
        return whole;
    uint64_t rows = row_bytes >= slice_bytes ? 1 : slice_bytes / row_bytes;
    if (!is_chunked) { /* slices of about the same size */
        uint64_t n_slices = (entry->shape[0] - 1) / rows + 1;
        rows = (entry->shape[0] - 1) / n_slices + 1;
    }
    return cut_rows(entry, rows, is_chunked);
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
        tensor->unit = cut->by_chance ? (int32_t)i : -1;
    }
    return 0;
}

static int find_order(struct slicing *slicing, const struct weights_index *index)
{
    slicing->order = reallocarray(NULL, (size_t)index->n_tensors + 1, sizeof *slicing->order);
    slicing->has_alias =
        memory_budget_calloc((size_t)index->n_tensors + 1, sizeof *slicing->has_alias);
    if (!slicing->order || !slicing->has_alias)
        return -ENOMEM;
    for (uint32_t i = 0; i < index->n_aliases; i++)
        slicing->has_alias[index->aliases[i].tensor - index->tensors] = true;
    for (uint32_t i = 0; i < index->n_tensors; i++)
        slicing->order[i] = &index->tensors[i];
    qsort(slicing->order, index->n_tensors, sizeof *slicing->order, compare_positions);
    return 0;
}

/* Whether at least half of the model's bytes would be units that are used by chance. */
static bool is_by_chance(struct slicing *slicing, const struct weights_index *index)
{
    long double bytes = 0, unit_bytes = 0;

    slicing->by_chance = true;
    for (uint32_t i = 0; i < index->n_tensors; i++) {
        struct cut cut = find_cut(slicing, index, slicing->order[i]);
        bytes += slicing->order[i]->entry->bytes;
        unit_bytes += cut.by_chance || cut.unit >= 0 ? slicing->order[i]->entry->bytes : 0;
    }
    slicing->last = NULL;
    return 2 * unit_bytes >= bytes && unit_bytes > 0;
}

/* Sets `ret_n` to how many tensors there will be. */
static int check_number(struct slicing *slicing, const struct weights_index *index,
                        struct definition_problem *problem, uint64_t *ret_n)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < index->n_tensors; i++) {
        struct cut cut = find_cut(slicing, index, slicing->order[i]);
        struct place place = {.key = slicing->order[i]->entry->name};
        n += cut.n_slices;
        if (cut.n_slices > DEFINITION_TENSORS_MAX || n > DEFINITION_TENSORS_MAX)
            return definition_refuse(problem, &place,
                                     "has %" PRIu64 " units, and with these the model has more "
                                     "than %d tensors",
                                     cut.n_slices, DEFINITION_TENSORS_MAX);
    }
    slicing->last = NULL;
    *ret_n = n;
    return 0;
}

static int slice(struct slicing *slicing, struct weights_index *index,
                 struct definition_problem *problem)
{
    uint64_t n = 0;
    int r = find_order(slicing, index);
    if (r < 0)
        return r;
    slicing->by_chance = is_by_chance(slicing, index);
    r = check_number(slicing, index, problem, &n);
    if (r < 0 || (n == index->n_tensors && !slicing->by_chance))
        return r;
    slicing->entries = memory_budget_calloc(n + 1, sizeof *slicing->entries);
    slicing->tensors = memory_budget_calloc(n + 1, sizeof *slicing->tensors);
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

int weights_slice(struct weights_index *index, uint64_t unit_bytes,
                  struct definition_problem *problem)
{
    struct slicing slicing = {
        .slice_bytes = unit_bytes > piece_align_bytes() ? unit_bytes : piece_align_bytes()};
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
