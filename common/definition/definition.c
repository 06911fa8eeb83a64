/* A finished definition of a model: its references, and the lookup of layers by name. */
#include "common/definition/definition.h"

#include "common/definition/definition_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool definition_path_valid(const char *path)
{
    if (path[0] == '\0' || path[0] == '/')
        return false;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && path[0] == '.' && path[1] == '.')
            return false;
        path += n;
        path += strspn(path, "/");
    }
    return true;
}

struct definition *definition_ref(struct definition *definition)
{
    definition->n_refs++;
    return definition;
}

struct definition *definition_unref(struct definition *definition)
{
    if (definition && --definition->n_refs == 0) {
        for (uint32_t i = 0; i < definition->n_files; i++)
            weight_file_done(&definition->files[i]);
        free(definition->files);
        definition_pool_free(definition->pool);
        free(definition);
    }
    return NULL;
}

int64_t definition_find_layer(const struct definition *definition, const char *name)
{
    uint32_t low = 0, high = definition->n_layers;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int r = strcmp(name, definition->layers[definition->by_name[middle]].name);
        if (r == 0)
            return definition->by_name[middle];
        if (r < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -ENOENT;
}
