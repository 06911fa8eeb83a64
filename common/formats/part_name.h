/* Parses the names of files that are parts of one model. Pure.
 * Sources: gguf-split of https://github.com/ggml-org/llama.cpp; save_pretrained of
 * https://github.com/huggingface/transformers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct part_name {
    size_t n_stem;          /* bytes of "x" */
    unsigned part, n_parts; /* from 1 */
};

/* Whether a file's name, as "x-00002-of-00003.gguf", is that of a part. `extension` is ".gguf" or
 * ".safetensors". */
bool part_name_parse(const char *base, const char *extension, struct part_name *ret);
