/* The input is a file without its magic number, which is added here. */
#include "tests/fuzz/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t *file = malloc(4 + n_bytes);

    if (!file)
        return 0;
    memcpy(file, "GGUF", 4);
    if (n_bytes > 0)
        memcpy(file + 4, data, n_bytes);
    fuzz_weights(file, 4 + n_bytes);
    free(file);
    return 0;
}
