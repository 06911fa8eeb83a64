/* The element types of GGUF by their number, ggml_type in ggml.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { GGUF_TYPES = 43 };

extern const char *const gguf_type_names[GGUF_TYPES];

/* Whether the type was removed from the format. Its number is not used again. */
bool gguf_type_is_removed(uint32_t type);
