/* The input is a definition's text. An accepted definition must keep the promises of
 * definition.h. */
#include "common/definition/definition_parse.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void check(const struct definition *definition)
{
    uint64_t bytes = 0;

    REQUIRE(definition->n_layers > 0 && definition->name[0]);
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t offset = 0;
        for (uint32_t j = 0; j < layer->n_tensors; j++) {
            REQUIRE(layer->tensors[j].offset_bytes == offset);
            REQUIRE(!__builtin_add_overflow(offset, layer->tensors[j].bytes, &offset));
        }
        REQUIRE(layer->n_tensors == 0 || layer->bytes == offset);
        REQUIRE(layer->bytes > 0);
        REQUIRE(!__builtin_add_overflow(bytes, layer->bytes, &bytes));
        REQUIRE(definition_find_layer(definition, layer->name) == i);
    }
    REQUIRE(definition->bytes == bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct definition_problem problem = {.line = 0};
    struct definition *definition = NULL;

    /* A copy, so that sanitizers detect a read beyond its end. */
    char *text = malloc(n_bytes ? n_bytes : 1);
    if (!text)
        return 0;
    if (n_bytes > 0)
        memcpy(text, data, n_bytes);
    int r = definition_parse(text, n_bytes, &definition, &problem);
    free(text);
    if (r == 0) {
        check(definition);
        definition_unref(definition);
        return 0;
    }
    REQUIRE(!definition);
    REQUIRE(r == -EBADMSG || r == -ENOMEM);
    REQUIRE(r == -ENOMEM || problem.message[0]);
    return 0;
}
