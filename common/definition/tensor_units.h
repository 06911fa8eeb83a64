/* Which tensors consist of parts that are used or not used as a whole, by their names and shapes.
 */
#pragma once

#include "common/definition/definition.h"

enum { UNIT_CHUNK_BYTES = 1 << 20 /* of a table */, UNIT_EXPERTS_MAX = 65535 /* of a layer */ };

/* The number in "experts.N.", or -1. */
int64_t tensor_expert(const char *name);

/* Whether it has all experts of a layer; the outermost dimension counts them. */
bool tensor_is_fused(const char *name);

/* Whether it is a table of which a token reads one row. */
bool tensor_is_table(const char *name, unsigned n_dims);

/* Why a fused tensor cannot be cut into its experts, or NULL. `n_layer_experts` is how many the
 * layer's other fused tensors have; 0: there are none. */
const char *tensor_find_obstacle(const struct tensor *tensor, uint64_t n_layer_experts);
