/* A layer as a reply to Acquire or Next describes it, checked and mapped: its bytes in memory, and
 * its tensors within them. A layer of which only some units are held is mapped in parts. */
#pragma once

#include "client/library/arena_map.h"
#include "client/library/edgemind.h"

#include <jansson.h>

/* Bytes of the layer, as the reply counts them, that are one range in memory. */
struct mapped_part {
    struct arena_range range;
    uint64_t begin_bytes, n_bytes;
};

struct mapped_layer {
    json_t *reply; /* a reference: owns the texts */
    json_t *lease; /* a reference to the lease's name, which changes when it is taken up again */
    const char *layer;
    json_int_t fill;           /* the number of the load that read the bytes */
    struct mapped_part *parts; /* owned; NULL: nothing is mapped */
    size_t n_parts;
    size_t bytes;
    struct edgemind_tensor *tensors; /* owned, as are the shapes */
    size_t n_tensors;
    uint64_t *shapes;
};

/* A whole layer must be one part. 0; -EBADMSG if the interface does not describe such a reply, or
 * its values are impossible; or an error of arena_range_init. */
int mapped_layer_init(struct mapped_layer *mapped, json_t *reply, struct arena_map *map,
                      bool has_units);
void mapped_layer_done(struct mapped_layer *mapped); /* zeroes it; a zeroed one is allowed */

/* Whether the map is lost; with `look`, also whether the file is now too short. False if nothing is
 * mapped. */
bool mapped_layer_is_lost(const struct mapped_layer *mapped, bool look);

/* is_like: both layers have the same size and the same tensors. is_same: both are the same load of
 * the same layer at the same addresses. */
bool mapped_layer_is_like(const struct mapped_layer *a, const struct mapped_layer *b);
bool mapped_layer_is_same(const struct mapped_layer *a, const struct mapped_layer *b);
