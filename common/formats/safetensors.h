/* The safetensors format: 8 bytes of little-endian header length, a JSON object that names every
 * tensor's dtype, shape and place, then the data, which the tensors cover exactly.
 * Source: https://github.com/huggingface/safetensors, whose reader this one agrees with. */
#pragma once

#include "common/formats/tensor_file_builder.h"

/* Fills the builder's file. 0; -EBADMSG with its problem set; a read's errno; -ENOMEM. */
int safetensors_read(struct tensor_file_builder *builder);
