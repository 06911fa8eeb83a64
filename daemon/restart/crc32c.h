/* CRC-32C (Castagnoli), as RFC 3720, section 12.1, and SSE 4.2 have it: finds every damage of one
 * bit, and every burst of at most 32. Pure function. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of `n_bytes` bytes that follow those that `crc` was computed of; 0 for none. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n_bytes);
