#include "common/definition/tensor_units.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), n_end = strlen(end);

    if (n < n_end || strcmp(name + n - n_end, end) != 0)
        return false;
    return n == n_end || name[n - n_end - 1] == '.';
}

bool tensor_is_table(const char *name, unsigned n_dims)
{
    static const char *const ends[] = {"token_embd.weight", "per_layer_token_embd.weight",
                                       "embed_tokens.weight", "embed_tokens_per_layer.weight",
                                       "wte.weight"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i]))
            return n_dims >= 2;
    return false;
}

int64_t tensor_expert(const char *name)
{
    const char *at = strstr(name, "experts.");
    char *end;

    if (!at || (at > name && at[-1] != '.') || !isdigit((unsigned char)at[8]))
        return -1;
    errno = 0;
    unsigned long expert = strtoul(at + 8, &end, 10);
    return errno == 0 && *end == '.' && expert < UNIT_EXPERTS_MAX ? (int64_t)expert : -1;
}

bool tensor_is_fused(const char *name)
{
    const char *at = strstr(name, "experts.");

    if (strstr(name, "_exps."))
        return true;
    return at && (at == name || at[-1] == '.') && !isdigit((unsigned char)at[8]);
}

const char *tensor_find_obstacle(const struct tensor *tensor, uint64_t n_layer_experts)
{
    uint64_t n_elements = 1, bytes;

    if (tensor->n_dims == 0 || tensor->shape[0] == 0 || tensor->bytes == 0)
        return "it has no experts";
    if (tensor->shape[0] > UNIT_EXPERTS_MAX)
        return "it has more than 65535 experts";
    if (n_layer_experts > 0 && tensor->shape[0] != n_layer_experts)
        return "another tensor of the layer has another number of experts";
    for (size_t i = 1; i < tensor->n_dims; i++)
        if (__builtin_mul_overflow(n_elements, tensor->shape[i], &n_elements))
            return "an expert is too large";
    if (dtype_bytes(tensor->type, n_elements, &bytes) < 0)
        return "an expert does not end at a block";
    if (bytes == 0 || tensor->bytes / tensor->shape[0] != bytes ||
        tensor->bytes % tensor->shape[0] != 0)
        return "the experts do not divide it";
    return NULL;
}
