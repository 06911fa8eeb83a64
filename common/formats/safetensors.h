/* The safetensors format: 8 bytes of little-endian header length, a JSON object that names every
 * tensor's dtype, shape and place, then the data, which the tensors cover exactly.
 *
 * The object's __metadata__ maps strings to strings. save_model of the reference's Python module
 * keeps one of several tensors that share their bytes, and notes there {"removed": "kept"} for each
 * of the others. So each pair becomes an alias; weights.h says which of them hold.
 *
 * Source: https://github.com/huggingface/safetensors, whose reader this one agrees with. */
#pragma once

#include "common/formats/tensor_file_builder.h"

/* Fills the builder's file. 0; -EBADMSG with its problem set; a read's errno; -ENOMEM. */
int safetensors_read(struct tensor_file_builder *builder);
