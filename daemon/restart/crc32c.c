/* Takes eight bytes at a time where the processor has an instruction for it, otherwise one byte. A
 * byte's effect is the sum of the effects of its two halves, so two tables of 16 entries replace
 * one of 256. */
#include "daemon/restart/crc32c.h"

#include <string.h>

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t n_bytes)
{
    /* The tables belong to the reflected polynomial 0x82f63b78. */
    static const uint32_t low[16] = {
        0x00000000, 0xf26b8303, 0xe13b70f7, 0x1350f3f4, 0xc79a971f, 0x35f1141c,
        0x26a1e7e8, 0xd4ca64eb, 0x8ad958cf, 0x78b2dbcc, 0x6be22838, 0x9989ab3b,
        0x4d43cfd0, 0xbf284cd3, 0xac78bf27, 0x5e133c24,
    };
    static const uint32_t high[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *at = bytes;

    crc = ~crc;
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned byte = (crc ^ at[i]) & 0xff;
        crc = crc >> 8 ^ low[byte & 15] ^ high[byte >> 4];
    }
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *bytes,
                                                                 size_t n_bytes)
{
    const unsigned char *at = bytes;
    uint64_t word, sum = ~crc;

    for (; n_bytes >= sizeof word; n_bytes -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    crc = (uint32_t)sum;
    for (; n_bytes > 0; n_bytes--)
        crc = __builtin_ia32_crc32qi(crc, *at++);
    return ~crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t n_bytes)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return by_instruction(crc, bytes, n_bytes);
#endif
    return crc32c_portable(crc, bytes, n_bytes);
}
