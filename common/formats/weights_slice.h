/* Slices the tensors of an index into the units of views: each expert of a fused tensor, and chunks
 * of tables, become tensors of their own, named "blk.0.ffn_up_exps.weight[5]". What cannot be
 * sliced, see tensor_units.h, stays whole, and so does a tensor with an alias. Nothing is sliced
 * unless at least half of the model's bytes are experts or such tables: of other models programs
 * use everything in one order, which is better without units. */
#pragma once

#include "common/formats/weights_index.h"

enum { WEIGHTS_SLICE_SUFFIX_MAX = 23 /* bytes of "[5]" */ };

/* 0; -EBADMSG if there would be too many tensors; -ENOMEM. After a failure the index is as before.
 */
int weights_slice(struct weights_index *index, struct definition_problem *problem);
