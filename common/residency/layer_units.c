#include "common/residency/layer_units.h"

#include <errno.h>
#include <string.h>

struct finder {
    struct unit_group fused, own; /* experts; n_units is 0: there are none */
    uint64_t own_bytes[UNIT_EXPERTS_MAX];
    struct unit_group *others;
    size_t n_others;
};

static void add_fused(struct finder *finder, const struct tensor *tensor)
{
    struct unit_group *group = &finder->fused;

    if (group->n_units == 0)
        *group = (struct unit_group){
            .kind = UNIT_EXPERT, .name = tensor->name, .n_units = tensor->shape[0]};
    group->n_tensors++;
    group->bytes += tensor->bytes;
    group->unit_bytes += tensor->bytes / tensor->shape[0];
}

static void add_own(struct finder *finder, const struct tensor *tensor, int64_t expert)
{
    struct unit_group *group = &finder->own;

    if (group->n_units == 0)
        *group = (struct unit_group){.kind = UNIT_EXPERT, .name = tensor->name};
    group->n_units += finder->own_bytes[expert] == 0 && tensor->bytes > 0;
    group->n_tensors++;
    group->bytes += tensor->bytes;
    finder->own_bytes[expert] += tensor->bytes;
    if (finder->own_bytes[expert] > group->unit_bytes)
        group->unit_bytes = finder->own_bytes[expert];
}

static void add_other(struct finder *finder, const struct tensor *tensor, const char *uncut)
{
    struct unit_group *group = &finder->others[finder->n_others++];

    *group = (struct unit_group){.kind = UNIT_TENSOR,
                                 .name = tensor->name,
                                 .n_units = 1,
                                 .n_tensors = 1,
                                 .unit_bytes = tensor->bytes,
                                 .bytes = tensor->bytes,
                                 .uncut = uncut};
    if (tensor_is_table(tensor->name, tensor->n_dims) && tensor->bytes > UNIT_CHUNK_BYTES) {
        group->kind = UNIT_CHUNK;
        group->n_units = (tensor->bytes - 1) / UNIT_CHUNK_BYTES + 1;
        group->unit_bytes = UNIT_CHUNK_BYTES;
    }
}

static void add(struct finder *finder, const struct tensor *tensor)
{
    int64_t expert = tensor_expert(tensor->name);
    bool fused = expert < 0 && tensor_is_fused(tensor->name);
    const char *uncut = fused ? tensor_find_obstacle(tensor, finder->fused.n_units) : NULL;

    if (expert >= 0 && tensor->bytes > 0)
        add_own(finder, tensor, expert);
    else if (fused && !uncut)
        add_fused(finder, tensor);
    else
        add_other(finder, tensor, uncut);
}

int layer_units_find(const struct tensor *tensors, uint32_t n_tensors, struct unit_group **ret,
                     size_t *ret_n)
{
    _cleanup_(freep) struct finder *finder = calloc(1, sizeof *finder);
    /* Two more than there are other tensors, for the experts. */
    struct unit_group *groups = calloc((size_t)n_tensors + 2, sizeof *groups);
    size_t n = 0;

    if (!finder || !groups) {
        free(groups);
        return -ENOMEM;
    }
    finder->others = groups + 2;
    for (uint32_t i = 0; i < n_tensors; i++)
        add(finder, &tensors[i]);
    if (finder->fused.n_units > 0)
        groups[n++] = finder->fused;
    if (finder->own.n_units > 0)
        groups[n++] = finder->own;
    memmove(groups + n, groups + 2, finder->n_others * sizeof *groups);
    *ret = groups;
    *ret_n = n + finder->n_others;
    return 0;
}

const char *unit_kind_name(enum unit_kind kind)
{
    static const char *const names[] = {
        [UNIT_EXPERT] = "expert", [UNIT_CHUNK] = "chunk", [UNIT_TENSOR] = "tensor"};
    return names[kind];
}
