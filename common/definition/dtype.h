/* Element types of tensors: names and sizes. Sizes are in blocks, so that one table has small,
 * ordinary and quantised types. Pure functions. */
#pragma once

#include <stdint.h>

/* An index into the table in dtype.c. */
typedef uint8_t dtype;

/* By name, case-insensitive ("f32", "BF16"). 0 or -ENOENT. */
int dtype_parse(const char *name, dtype *ret);
const char *dtype_name(dtype type);

/* The size of `n_elements` elements in bytes. 0, -EOVERFLOW, or -EINVAL if they do not fill whole
 * blocks. */
int dtype_bytes(dtype type, uint64_t n_elements, uint64_t *ret_bytes);
