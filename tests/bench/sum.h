/* Reads all of a range, about as fast as the memory allows, and returns a sum. */
#pragma once

#include <stdint.h>
#include <string.h>

/* The sum of 64-bit words; the bytes of an incomplete last word are added one by one. */
static inline uint64_t sum_words(const void *bytes, size_t n_bytes)
{
    typedef uint64_t vector __attribute__((vector_size(16)));
    enum { LANES = 4 };
    vector sums[LANES] = {{0}};
    const unsigned char *p = bytes, *end = p + n_bytes;

    for (; (size_t)(end - p) >= sizeof sums; p += sizeof sums) {
        for (int i = 0; i < LANES; i++) {
            vector words;
            memcpy(&words, p + (size_t)i * sizeof words, sizeof words);
            sums[i] += words;
        }
    }
    vector all = sums[0] + sums[1] + sums[2] + sums[3];
    uint64_t sum = all[0] + all[1];
    for (uint64_t word; (size_t)(end - p) >= sizeof word; p += sizeof word) {
        memcpy(&word, p, sizeof word);
        sum += word;
    }
    for (; p < end; p++)
        sum += *p;
    return sum;
}
