/* Makes a definition layer by layer, for readers of all formats. Copies names and shapes, computes
 * offsets and sums, and refuses overflows and duplicate names.
 *
 * Order of calls: init, begin, then for each layer begin_layer, tensor or size, end_layer; then
 * end. Each returns 0, -EBADMSG with the problem set, or -ENOMEM. After a failure only done may be
 * called. */
#pragma once

#include "common/definition/definition.h"
#include "common/definition/definition_value.h"

#include <stddef.h>
#include <stdint.h>

struct definition_builder {
    struct definition_problem *problem; /* borrowed */
    struct definition *definition;      /* owned until end */
    uint32_t n_layers_max;
    size_t n_tensors_total;

    /* The present layer. The arrays are reused for the next layer. */
    const struct place *place; /* borrowed until end_layer */
    const char *name;
    uint64_t bytes;
    struct tensor *tensors;
    uint32_t *order;
    uint32_t n_tensors, n_allocated;
};

int definition_builder_init(struct definition_builder *builder, struct definition_problem *problem);
void definition_builder_done(struct definition_builder *builder);

/* `weights` may be NULL. Exactly `n_layers` > 0 layers follow. */
int definition_builder_begin(struct definition_builder *builder, const char *name,
                             const char *weights, uint32_t n_layers);

int definition_builder_begin_layer(struct definition_builder *builder, const char *name,
                                   const struct place *place);

/* `place` is for the report of an impossible size. No size in `shape` is 0. */
int definition_builder_tensor(struct definition_builder *builder, const char *name, dtype type,
                              const uint64_t *shape, unsigned n_dims, const struct place *place);

/* Instead of tensors. `bytes` > 0. */
void definition_builder_size(struct definition_builder *builder, uint64_t bytes);

int definition_builder_end_layer(struct definition_builder *builder);

int definition_builder_end(struct definition_builder *builder, struct definition **ret);
