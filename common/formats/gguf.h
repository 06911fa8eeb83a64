/* The GGUF format, versions 2 and 3, little endian: a header of binary values, metadata, a table of
 * tensors, then the data.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and ggml.h for the types. */
#pragma once

#include "common/formats/tensor_file_builder.h"

enum {
    /* More than TENSOR_FILE_HEADER_MAX, which bounds the rest of the header. Most of the metadata
     * is the tokenizer's vocabulary, about 16 MiB with half a million merges. It is skipped and
     * takes no memory. */
    GGUF_METADATA_MAX = 64 << 20,
    GGUF_ARRAY_DEPTH_MAX = 8
};

/* Fills the builder's file. 0; -EBADMSG with its problem set; a read's errno; -ENOMEM. */
int gguf_read(struct tensor_file_builder *builder);
