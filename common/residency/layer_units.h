/* The units of a layer: its parts that are used or not used as a whole. They follow from the names
 * and the shapes of its tensors.
 * - An expert of a mixture of experts: its slices of the fused tensors (`blk.N.ffn_up_exps.weight`
 * in GGUF, `mlp.experts.down_proj` in safetensors; the outermost dimension counts the experts), or
 * its own tensors (`mlp.experts.N.up_proj.weight`).
 * - A chunk of a table of which a token reads one row, such as `token_embd.weight`.
 * - Any other tensor. */
#pragma once

#include "common/definition/tensor_units.h"

enum unit_kind { UNIT_EXPERT, UNIT_CHUNK, UNIT_TENSOR };

/* Units of one kind that belong together: the experts of a layer, or the chunks of a table. */
struct unit_group {
    enum unit_kind kind;
    const char *name; /* of the first tensor; borrowed */
    uint64_t n_units, n_tensors;
    uint64_t unit_bytes; /* of the largest unit */
    uint64_t bytes;      /* of all units */
    const char *uncut;   /* why a tensor of experts is one unit; NULL: it is none */
};

const char *unit_kind_name(enum unit_kind kind); /* "expert", "chunk" or "tensor" */

/* Sets `ret` (malloc'ed) and `ret_n`: the experts first, then the others in the order of the
 * tensors. 0 or -ENOMEM. */
int layer_units_find(const struct tensor *tensors, uint32_t n_tensors, struct unit_group **ret,
                     size_t *ret_n);
