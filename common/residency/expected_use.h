/* Chooses which unit leaves a memory that is smaller than the model: the unit whose next use is
 * expected furthest away. A unit is a part of a layer that is used or not used as a whole, such as
 * an expert. Like the daemon's policies this one has no clock and no I/O, and only chooses: the
 * caller loads and evicts.
 *
 * The model's layers are used in a cycle. Each use of a layer is a pass. The expected distance of a
 * unit is
 *     CYCLE_WEIGHT * d + 1 / p - 1,
 * where d is the number of layers until the unit's layer has its next pass, divided by the number
 * of all layers, and p estimates the probability that this pass uses the unit: the mean of its
 * frequencies on a short and on a long time scale, and how often it was used in the pass after the
 * units that the layer's last pass used. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct expected_use;

enum {
    EXPECTED_USE_LAYERS_MAX = 100000,
    EXPECTED_USE_LAYER_UNITS_MAX = 65535, /* of one layer */
    EXPECTED_USE_UNITS_MAX = 1000000,     /* of all layers */
    EXPECTED_USE_UNIT_BYTES_MAX = 64,     /* how much memory a unit takes here */
};

struct unit_id {
    uint32_t layer, index;
};

/* `n_units[i]` is the number of units of layer i; 0 is valid. 0, -EINVAL (no layers), -E2BIG (more
 * than the limits) or -ENOMEM. */
int expected_use_new(const uint32_t *n_units, uint32_t n_layers, struct expected_use **ret);
void expected_use_free(struct expected_use *uses);
DEFINE_CLEANUP(struct expected_use *, expected_use_free);
/* A copy that decides as the original does. 0 or -ENOMEM. */
int expected_use_copy(const struct expected_use *uses, struct expected_use **ret);

/* `layer` has a pass, which uses these `n` different units of it. */
void expected_use_pass(struct expected_use *uses, uint32_t layer, const uint32_t *units, size_t n);

/* `layer` begins a pass, whose uses are told later by expected_use_pass: from now on a unit of it
 * counts as one for the next cycle. */
void expected_use_enter(struct expected_use *uses, uint32_t layer);

/* In how many of its layer's last passes, about 30 of them, the unit was used: 0 to 1. Negative if
 * the layer has had no pass. */
double expected_use_frequency(const struct expected_use *uses, struct unit_id unit);

/* From now on the unit may be chosen, or no longer: it is in the memory and nobody reads it. At the
 * start no unit may be chosen. Without effect if nothing changes. */
void expected_use_offer(struct expected_use *uses, struct unit_id unit);
void expected_use_withdraw(struct expected_use *uses, struct unit_id unit);

/* No unit may be chosen any more. Constant time. */
void expected_use_withdraw_all(struct expected_use *uses);

/* False if no unit may be chosen. The chosen unit remains offered. Logarithmic in the layers and in
 * the units of a layer, and examines a bounded number of units; expected_use_choose.c says which.
 */
bool expected_use_choose(struct expected_use *uses, struct unit_id *ret);
/* The same, and returns the distance of the chosen unit; negative if none may be chosen. */
double expected_use_furthest(struct expected_use *uses, struct unit_id *ret);
