/* How a model's layers are used, from which the policy expected-use foresees their next use.
 *
 * Layers that are parts of one layer of the weights ("blk.0:1", "blk.0:2") are a group, which has
 * its passes together: a pass begins when a layer of the group is requested, and ends when a layer
 * of another group, or the same layer again, is requested. Every other layer is a group of its own.
 * Only the scheduler changes this. */
#pragma once

#include "common/definition/definition.h"

struct model_uses;

/* NULL when out of memory. Any thread. */
struct model_uses *model_uses_new(const struct definition *definition);
/* A copy that foresees what the original does; NULL when out of memory. */
struct model_uses *model_uses_copy(const struct model_uses *uses);
void model_uses_free(struct model_uses *uses);
DEFINE_CLEANUP(struct model_uses *, model_uses_free);

/* The layer is requested: the pass before it ends if it must. Without effect if repeated. */
void model_uses_enter(struct model_uses *uses, uint32_t layer, uint64_t now_usec);
/* The request succeeds. */
void model_uses_add(struct model_uses *uses, uint32_t layer);

/* The layer may be evicted from now on, or no longer; or no layer of the model any more. */
void model_uses_offer(struct model_uses *uses, uint32_t layer);
void model_uses_withdraw(struct model_uses *uses, uint32_t layer);
void model_uses_withdraw_all(struct model_uses *uses);

/* Finds the evictable layer that is expected to be used last, and returns how far away that is, to
 * be compared with other models; negative if no layer may be evicted. Logarithmic in the layers. */
double model_uses_furthest(struct model_uses *uses, uint64_t now_usec, uint32_t *ret);
