/* The bytes of a layer that Acquire has handed out: which of the arena's they are, and reading them
 * through the arena's descriptor. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct byte_range {
    uint64_t offset_bytes, n_bytes;
};

struct leased_layer {
    int arena_fd;                /* owned */
    struct byte_range *segments; /* in the arena: the layer's bytes, one segment after the other */
    size_t n_segments;
    struct byte_range *weights; /* in the layer, by offset: without what lies between tensors */
    size_t n_weights;
};

/* Takes `arena_fd`, also on failure. `reply` is Acquire's; the weights are those of `tensor`, or,
 * if that is NULL, all. 0; -EBADMSG if the reply is not what the interface describes; -ENOENT if
 * the layer has no such tensor; -ENOMEM. */
int leased_layer_init(struct leased_layer *layer, json_t *reply, int arena_fd, const char *tensor);
void leased_layer_done(struct leased_layer *layer);

/* Copies some of the layer's bytes; all of them must be inside it. 0; -ENODATA if the arena has
 * lost them (its daemon has started anew); or another negative errno. */
int leased_layer_read(const struct leased_layer *layer, uint64_t offset_bytes, void *buffer,
                      size_t n_bytes);
