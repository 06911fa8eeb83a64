/* Describes the tensors of a layer in replies. */
#pragma once

#include "daemon/scheduler/model.h"
#include "proto/fields.h"

/* The interface's Tensor. */
struct tensor_row {
    const char *name, *dtype;
    struct field_array shape;
    uint64_t offset_bytes, bytes;
};
extern const struct field tensor_fields[];
/* Describes a layer's tensors [first, first + n) in `rows`, which then refer to the definition's
 * strings. */
void describe_tensors(const struct layer_definition *layer, uint64_t first, uint64_t n,
                      struct tensor_row *rows);
