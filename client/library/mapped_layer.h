/* A layer as a reply to Acquire or Next describes it, checked and mapped: its bytes in memory, and
 * its tensors within them. */
#pragma once

#include "client/library/arena_map.h"
#include "client/library/edgemind.h"

#include <jansson.h>

struct mapped_layer {
    json_t *reply; /* a reference: owns the texts */
    json_t *lease; /* a reference to the lease's name, which changes when it is taken up again */
    const char *layer;
    json_int_t fill; /* the number of the load that read the bytes */
    struct arena_range range;
    size_t bytes;
    struct edgemind_tensor *tensors; /* owned, as are the shapes */
    size_t n_tensors;
    uint64_t *shapes;
};

/* 0; -EBADMSG if the interface does not describe such a reply, or its values are impossible; or an
 * error of arena_range_init. */
int mapped_layer_init(struct mapped_layer *mapped, json_t *reply, struct arena_map *map);
void mapped_layer_done(struct mapped_layer *mapped); /* zeroes it; a zeroed one is allowed */

/* is_like: both layers have the same size and the same tensors. is_same: both are the same load of
 * the same layer at the same addresses. */
bool mapped_layer_is_like(const struct mapped_layer *a, const struct mapped_layer *b);
bool mapped_layer_is_same(const struct mapped_layer *a, const struct mapped_layer *b);
