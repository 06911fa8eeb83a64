/* Slices the tensors of an index into the units of views. If at least half of the model's bytes are
 * experts, or tables of which a token reads one row, each expert of a fused tensor, and each chunk
 * of such a table, becomes a tensor of its own, named "blk.0.ffn_up_exps.weight[5]". Every other
 * tensor of more than `unit_bytes` becomes slices of about the same size, cut between rows of its
 * outermost dimension, so that one large tensor does not set what a view needs for streaming. What
 * cannot be sliced, see tensor_units.h, stays whole, and so does a tensor with an alias. */
#pragma once

#include "common/formats/weights_index.h"

enum { WEIGHTS_SLICE_SUFFIX_MAX = 23 /* bytes of "[5]" */ };

/* 0; -EBADMSG if there would be too many tensors; -ENOMEM. After a failure the index is as before.
 */
int weights_slice(struct weights_index *index, uint64_t unit_bytes,
                  struct definition_problem *problem);
