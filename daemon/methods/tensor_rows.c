#include "daemon/methods/tensor_rows.h"

const struct field tensor_fields[] = {
    {"name", FIELD_STRING, offsetof(struct tensor_row, name)},
    {"dtype", FIELD_STRING, offsetof(struct tensor_row, dtype)},
    {"shape", FIELD_NUMBERS, offsetof(struct tensor_row, shape)},
    {"offset", FIELD_U64, offsetof(struct tensor_row, offset_bytes)},
    {"bytes", FIELD_U64, offsetof(struct tensor_row, bytes)},
    {0},
};

void describe_tensors(const struct layer_definition *layer, uint64_t first, uint64_t n,
                      struct tensor_row *rows)
{
    for (uint64_t i = 0; i < n; i++) {
        const struct tensor *tensor = &layer->tensors[first + i];
        rows[i] = (struct tensor_row){
            .name = tensor->name,
            .dtype = dtype_name(tensor->type),
            .shape = {tensor->shape, tensor->n_dims, sizeof *tensor->shape},
            .offset_bytes = tensor->offset_bytes,
            .bytes = tensor->bytes,
        };
    }
}
