/* What a reply to Acquire or Next says, checked and with addresses: a layer's bytes in memory, and
 * its tensors in them. */
#pragma once

#include "client/library/arena_map.h"
#include "client/library/edgemind.h"

#include <jansson.h>

struct mapped_layer {
    json_t *reply; /* a reference: owns the texts */
    json_t *lease; /* a reference to the lease's name, which changes when it is taken up again */
    const char *layer;
    json_int_t fill; /* which load brought the bytes in */
    struct arena_range range;
    size_t bytes;
    struct edgemind_tensor *tensors; /* owned, as are the shapes */
    size_t n_tensors;
    uint64_t *shapes;
};

/* 0; -EBADMSG if the reply is not what the interface describes, or holds what cannot be; or what
 * arena_range_init says. */
int mapped_layer_init(struct mapped_layer *mapped, json_t *reply, struct arena_map *map);
void mapped_layer_done(struct mapped_layer *mapped); /* safe on a zeroed one, and leaves one */

/* Whether both are of layers of the same size with the same tensors. And: whether both are the very
 * same bytes at the same addresses. */
bool mapped_layer_is_like(const struct mapped_layer *a, const struct mapped_layer *b);
bool mapped_layer_is_same(const struct mapped_layer *a, const struct mapped_layer *b);
