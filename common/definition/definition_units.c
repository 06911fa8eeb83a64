#include "common/definition/definition_units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool definition_unit_name(const char *layer, uint64_t unit,
                          char ret[static DEFINITION_NAME_MAX + 1])
{
    int n = snprintf(ret, DEFINITION_NAME_MAX + 1, "%s:u%" PRIu64, layer, unit);
    return n >= 0 && n <= DEFINITION_NAME_MAX;
}

/* How many names come before those that begin with `layer` and `suffix`. */
static uint32_t count_before(const struct definition *definition, const char *layer,
                             const char *suffix)
{
    size_t n_bytes = strlen(layer);
    uint32_t low = 0, high = definition->n_layers;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *name = definition->layers[definition->by_name[middle]].name;
        int r = strncmp(name, layer, n_bytes);
        if (r == 0)
            r = strncmp(name + n_bytes, suffix, strlen(suffix));
        if (r < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t definition_count_units(const struct definition *definition, const char *layer)
{
    return count_before(definition, layer, ":v") - count_before(definition, layer, ":u");
}
