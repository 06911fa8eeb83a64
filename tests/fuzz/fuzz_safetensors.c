/* The input is the header's JSON text and, after its last newline, data. The header's length is
 * added here, so that every mutation is parsed. */
#include "tests/fuzz/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const uint8_t *newline = memrchr(data, '\n', n_bytes);
    uint64_t n_header = newline ? (uint64_t)(newline - data) + 1 : n_bytes;
    uint8_t *file = malloc(8 + n_bytes);

    if (!file)
        return 0;
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(n_header >> 8 * i);
    if (n_bytes > 0)
        memcpy(file + 8, data, n_bytes);
    fuzz_weights(file, 8 + n_bytes);
    free(file);
    return 0;
}
