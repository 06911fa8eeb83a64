/* How a model's layers are used, from which the policy expected-use foresees their next use.
 *
 * Layers that are parts of one layer of the weights ("blk.0:1", "blk.0:2") are a group, which has
 * its passes together: a pass begins when a layer of the group is requested, and ends when a layer
 * of another group, or the same layer again, is requested. Every other layer is a group of its own.
 * Only the owner's thread changes this. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct layer_uses;

/* Whether the layer is a unit that is used by chance, such as an expert: "blk.0:u5". */
bool layer_is_unit(const char *name);
/* Whether two layers are parts of one layer of the weights. */
bool layer_are_parts(const char *left, const char *right);

/* For layers with these names, which are only read here. NULL when out of memory. Any thread. */
struct layer_uses *layer_uses_new(const char *(*name)(const void *context, uint32_t layer),
                                  const void *context, uint32_t n_layers);
/* A copy that foresees what the original does; NULL when out of memory. */
struct layer_uses *layer_uses_copy(const struct layer_uses *uses);
void layer_uses_free(struct layer_uses *uses);
DEFINE_CLEANUP(struct layer_uses *, layer_uses_free);

/* The layer is requested: the pass before it ends if it must. Without effect if repeated. */
void layer_uses_enter(struct layer_uses *uses, uint32_t layer, uint64_t now_usec);
/* Whether the layer belongs to the present pass, so that its request would not end the pass. */
bool layer_uses_is_in_pass(const struct layer_uses *uses, uint32_t layer);
/* The request succeeds. */
void layer_uses_add(struct layer_uses *uses, uint32_t layer);

/* In how many of the last passes of its group, about 30 of them, the layer was used: in percent.
 * Negative if that is not known. */
int layer_uses_percent(const struct layer_uses *uses, uint32_t layer);

/* The layer may be evicted from now on, or no longer; or no layer of the model any more. */
void layer_uses_offer(struct layer_uses *uses, uint32_t layer);
void layer_uses_withdraw(struct layer_uses *uses, uint32_t layer);
void layer_uses_withdraw_all(struct layer_uses *uses);

/* Finds the evictable layer that is expected to be used last, and returns how far away that is, to
 * be compared with other models; negative if no layer may be evicted. Logarithmic in the layers. */
double layer_uses_furthest(struct layer_uses *uses, uint64_t now_usec, uint32_t *ret);
