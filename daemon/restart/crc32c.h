/* CRC-32C (Castagnoli), as RFC 3720, section 12.1, defines it. SSE 4.2 has an instruction for it.
 * It detects every change of one bit, and every burst of at most 32 bits. Pure function. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Returns the checksum after `n_bytes` more bytes. `crc` is the checksum of the bytes before them,
 * or 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n_bytes);
/* The same without that instruction. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t n_bytes);
