/* Element types of tensors: names and sizes. Sizes are in blocks, so that types of less than a
 * byte and quantised ones fit the same table. Pure functions. */
#pragma once

#include <stdint.h>

/* An index into the table in dtype.c. */
typedef uint8_t dtype;

/* By name, case-insensitive ("f32", "BF16"). 0 or -ENOENT. */
int dtype_parse(const char *name, dtype *ret);
const char *dtype_name(dtype type);

/* Bytes of `n_elements` elements. 0, -EOVERFLOW, or -EINVAL if they do not fill whole blocks. */
int dtype_bytes(dtype type, uint64_t n_elements, uint64_t *ret_bytes);
