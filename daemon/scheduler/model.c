/* Owns the life of a model and its layers, all absent at first. Leaves the layers' states to the
 * scheduler. */
#include "daemon/scheduler/model.h"

const char *layer_state_name(enum layer_state state)
{
    static const char *const names[] = {
        [LAYER_ABSENT] = "absent",
        [LAYER_LOADING] = "loading",
        [LAYER_RESIDENT] = "resident",
    };
    return names[state];
}

struct kept_layers *kept_layers_new(uint32_t n_layers)
{
    struct kept_layers *kept = calloc(1, sizeof *kept + n_layers * sizeof *kept->keep);
    if (kept)
        atomic_init(&kept->n_refs, 1);
    return kept;
}

struct kept_layers *kept_layers_ref(struct kept_layers *kept)
{
    if (kept)
        atomic_fetch_add(&kept->n_refs, 1);
    return kept;
}

struct kept_layers *kept_layers_unref(struct kept_layers *kept)
{
    if (kept && atomic_fetch_sub(&kept->n_refs, 1) == 1)
        free(kept);
    return NULL;
}

static const char *name_of(const void *definition, uint32_t layer)
{
    return ((const struct definition *)definition)->layers[layer].name;
}

struct model *model_new(struct definition *definition)
{
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return NULL;
    model->layers = calloc(definition->n_layers, sizeof *model->layers);
    model->begins_bytes = calloc(definition->n_layers, sizeof *model->begins_bytes);
    model->uses = layer_uses_new(name_of, definition, definition->n_layers);
    if (!model->layers || !model->begins_bytes || !model->uses) {
        layer_uses_free(model->uses);
        free(model->begins_bytes);
        free(model->layers);
        free(model);
        return NULL;
    }
    model->definition = definition_ref(definition);
    model->n_counted = definition->n_layers;
    uint64_t begin_bytes = 0;
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t end_bytes;
        model->begins_bytes[i] = begin_bytes;
        begin_bytes += layer->bytes;
        model->layers[i].model = model;
        model->layers[i].index = i;
        if (__builtin_add_overflow(layer->bytes, layer->shift_bytes, &end_bytes))
            end_bytes = UINT64_MAX;
        if (model->largest_bytes < end_bytes)
            model->largest_bytes = end_bytes;
    }
    return model;
}

struct model *model_free(struct model *model, struct arena *arena)
{
    if (!model)
        return NULL;
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        if (arena)
            arena_release(arena, &model->layers[i].allocation);
        else
            allocation_done(&model->layers[i].allocation);
    definition_unref(model->definition);
    layer_uses_free(model->uses);
    free(model->begins_bytes);
    kept_layers_unref(model->kept);
    free(model->layers);
    free(model);
    return NULL;
}

struct layer *model_find_layer(struct model *model, const char *name)
{
    int64_t index = definition_find_layer(model->definition, name);
    return index < 0 ? NULL : &model->layers[index];
}
