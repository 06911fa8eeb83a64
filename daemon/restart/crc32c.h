/* CRC-32C (Castagnoli) of RFC 3720, section 12.1, which SSE 4.2 computes, too. It finds every
 * change of one bit, and every burst of at most 32 bits. Pure function. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The checksum with `n_bytes` more bytes. `crc` is the checksum of the bytes before them; 0: there
 * are none. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n_bytes);
