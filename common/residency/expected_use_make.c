/* Owns the life of the figures of expected_use: all zero at first. */
#include "common/residency/expected_use_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void fill_decays(struct expected_use *uses)
{
    uses->short_decay[0] = uses->long_decay[0] = 1;
    for (size_t i = 1; i < SHORT_TABLE; i++)
        uses->short_decay[i] = uses->short_decay[i - 1] * (1 - 1 / SHORT_PASSES);
    for (size_t i = 1; i < LONG_TABLE; i++)
        uses->long_decay[i] = uses->long_decay[i - 1] * (1 - 1 / LONG_PASSES);
}

/* Arrays of zeros. */
static int allocate(struct expected_use *uses)
{
    uses->layers = calloc(uses->n_layers, sizeof *uses->layers);
    uses->stale = calloc(uses->n_layers, sizeof *uses->stale);
    uses->tree = calloc(2 * (size_t)uses->n_leaves, sizeof *uses->tree);
    /* One element more than needed, so that no units are no failure. */
    uses->units = calloc(uses->n_units + 1, sizeof *uses->units);
    uses->heaps = calloc(uses->n_units + 1, sizeof *uses->heaps);
    return uses->layers && uses->stale && uses->tree && uses->units && uses->heaps ? 0 : -ENOMEM;
}

static void build(struct expected_use *uses, const uint32_t *n_units)
{
    size_t n_before = 0;

    fill_decays(uses);
    for (uint32_t i = 0; i < uses->n_layers; i++) {
        uses->layers[i] = (struct layer){.units = uses->units + n_before,
                                         .heap = uses->heaps + n_before,
                                         .n_units = n_units[i],
                                         .distance = -1};
        n_before += n_units[i];
    }
    /* Leaves without a layer stand for the last layer, so that every node has one. */
    for (uint32_t i = 0; i < uses->n_leaves; i++)
        uses->tree[uses->n_leaves + i] = i < uses->n_layers ? i : uses->n_layers - 1;
    for (uint32_t node = uses->n_leaves - 1; node > 0; node--)
        uses->tree[node] = uses->tree[2 * node];
}

int expected_use_new(const uint32_t *n_units, uint32_t n_layers, struct expected_use **ret)
{
    uint64_t n = 0;

    if (n_layers == 0)
        return -EINVAL;
    if (n_layers > EXPECTED_USE_LAYERS_MAX)
        return -E2BIG;
    for (uint32_t i = 0; i < n_layers; i++) {
        n += n_units[i];
        if (n_units[i] > EXPECTED_USE_LAYER_UNITS_MAX || n > EXPECTED_USE_UNITS_MAX)
            return -E2BIG;
    }
    _cleanup_(expected_use_freep) struct expected_use *uses = calloc(1, sizeof *uses);
    if (!uses)
        return -ENOMEM;
    uses->n_layers = n_layers;
    uses->n_units = n;
    for (uses->n_leaves = 1; uses->n_leaves < n_layers;)
        uses->n_leaves *= 2;
    if (allocate(uses) < 0)
        return -ENOMEM;
    build(uses, n_units);
    *ret = TAKE_PTR(uses);
    return 0;
}

int expected_use_copy(const struct expected_use *from, struct expected_use **ret)
{
    _cleanup_(expected_use_freep) struct expected_use *uses = calloc(1, sizeof *uses);
    if (!uses)
        return -ENOMEM;
    *uses = *from;
    if (allocate(uses) < 0)
        return -ENOMEM;
    memcpy(uses->layers, from->layers, from->n_layers * sizeof *uses->layers);
    memcpy(uses->stale, from->stale, from->n_layers * sizeof *uses->stale);
    memcpy(uses->tree, from->tree, 2 * (size_t)from->n_leaves * sizeof *uses->tree);
    memcpy(uses->units, from->units, from->n_units * sizeof *uses->units);
    memcpy(uses->heaps, from->heaps, from->n_units * sizeof *uses->heaps);
    for (uint32_t i = 0; i < uses->n_layers; i++) {
        uses->layers[i].units = uses->units + (from->layers[i].units - from->units);
        uses->layers[i].heap = uses->heaps + (from->layers[i].heap - from->heaps);
    }
    *ret = TAKE_PTR(uses);
    return 0;
}

void expected_use_free(struct expected_use *uses)
{
    if (!uses)
        return;
    free(uses->layers);
    free(uses->units);
    free(uses->heaps);
    free(uses->stale);
    free(uses->tree);
    free(uses);
}
