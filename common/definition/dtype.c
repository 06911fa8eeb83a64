/* The table of element types. Names and packing are those of safetensors. An element smaller than a
 * byte has no padding, but a tensor has whole bytes, so 4 elements of 6 bits make a block of 3
 * bytes. Quantised types are ggml's (ggml_type_name in upper case). Their rows have longer blocks,
 * whose sizes are those of the structs in ggml-common.h. */
#include "common/definition/dtype.h"

#include <errno.h>
#include <stddef.h>
#include <strings.h>

static const struct {
    const char *name;
    uint16_t block_elements;
    uint16_t block_bytes;
} table[] = {
    {"F32", 1, 4},        {"F16", 1, 2},         {"BF16", 1, 2},        {"F64", 1, 8},
    {"I64", 1, 8},        {"I32", 1, 4},         {"I16", 1, 2},         {"I8", 1, 1},
    {"U64", 1, 8},        {"U32", 1, 4},         {"U16", 1, 2},         {"U8", 1, 1},
    {"BOOL", 1, 1},       {"C64", 1, 8},         {"F8_E4M3", 1, 1},     {"F8_E5M2", 1, 1},
    {"F8_E8M0", 1, 1},    {"F8_E4M3FNUZ", 1, 1}, {"F8_E5M2FNUZ", 1, 1}, {"F6_E2M3", 4, 3},
    {"F6_E3M2", 4, 3},    {"F4", 2, 1},          {"Q4_0", 32, 18},      {"Q4_1", 32, 20},
    {"Q5_0", 32, 22},     {"Q5_1", 32, 24},      {"Q8_0", 32, 34},      {"Q8_1", 32, 36},
    {"Q2_K", 256, 84},    {"Q3_K", 256, 110},    {"Q4_K", 256, 144},    {"Q5_K", 256, 176},
    {"Q6_K", 256, 210},   {"Q8_K", 256, 292},    {"IQ2_XXS", 256, 66},  {"IQ2_XS", 256, 74},
    {"IQ3_XXS", 256, 98}, {"IQ1_S", 256, 50},    {"IQ4_NL", 32, 18},    {"IQ3_S", 256, 110},
    {"IQ2_S", 256, 82},   {"IQ4_XS", 256, 136},  {"IQ1_M", 256, 56},    {"TQ1_0", 256, 54},
    {"TQ2_0", 256, 66},   {"MXFP4", 32, 17},     {"NVFP4", 64, 36},     {"Q1_0", 128, 18},
    {"Q2_0", 64, 18},
};

int dtype_parse(const char *name, dtype *ret)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcasecmp(table[i].name, name) == 0) {
            *ret = (dtype)i;
            return 0;
        }
    return -ENOENT;
}

const char *dtype_name(dtype type)
{
    return table[type].name;
}

int dtype_bytes(dtype type, uint64_t n_elements, uint64_t *ret_bytes)
{
    uint64_t bytes;

    if (n_elements % table[type].block_elements != 0)
        return -EINVAL;
    if (__builtin_mul_overflow(n_elements / table[type].block_elements,
                               (uint64_t)table[type].block_bytes, &bytes))
        return -EOVERFLOW;
    *ret_bytes = bytes;
    return 0;
}
