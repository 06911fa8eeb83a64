/* The safetensors format: the header's length in 8 little-endian bytes, a JSON object with every
 * tensor's dtype, shape and place, and then the data. The tensors cover the data exactly.
 *
 * The object's __metadata__ maps strings to strings. If several tensors share their bytes,
 * save_model of the reference Python module keeps one of them and writes {"removed": "kept"} to
 * __metadata__ for each of the others. So each pair becomes an alias; weights.h says which aliases
 * are valid.
 *
 * Source: https://github.com/huggingface/safetensors. This reader accepts the same files. */
#pragma once

#include "common/formats/tensor_file_builder.h"

/* Fills the builder's file. 0; -EBADMSG with its problem set; a read's errno; -ENOMEM. */
int safetensors_read(struct tensor_file_builder *builder);
