/* Owns the scheduler for a dry run that is built from a snapshot. Any thread. */
#include "daemon/scheduler/snapshot.h"

#include "daemon/scheduler/scheduler_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int build_models(const struct scheduler_snapshot *snapshot, struct scheduler *scheduler,
                        struct model **models)
{
    for (size_t i = 0; i < snapshot->n_models; i++) {
        const struct model_copy *from = &snapshot->models[i];
        struct model *to = models[i] = model_new(from->definition);
        if (!to)
            return -ENOMEM;
        scheduler_link_model(scheduler, to);
        to->kept = kept_layers_ref(from->kept);
        to->look_ahead = from->look_ahead;
        to->depth = from->depth;
        to->compute_usec = from->compute_usec;
        to->planned_pages = from->planned_pages;
        to->planned_compute_per_page = from->planned_compute_per_page;
        to->period = from->period;
        memcpy(to->schedule, from->schedule, sizeof to->schedule);
    }
    return 0;
}

/* NULL: its model was removed. */
static struct layer *layer_of(const struct scheduler_snapshot *snapshot,
                              const struct layer_copy *copy, struct model *const *models)
{
    uint16_t place = snapshot->seen[copy->model].place;
    return place == SNAPSHOT_NONE ? NULL : &models[place]->layers[copy->index];
}

/* Brings a layer into its state. */
static int build_layer(const struct layer_copy *from, struct scheduler *scheduler,
                       struct layer *layer)
{
    int r = scheduler_step_layer(scheduler, layer, LAYER_LOADING, from->n_pages);
    if (r < 0)
        return r;
    layer->used_usec = from->used_usec;
    layer->ahead = from->ahead;
    if (!from->is_loading)
        scheduler_step_layer(scheduler, layer, LAYER_RESIDENT, 0);
    if (from->is_pinned)
        scheduler_pin(scheduler, layer);
    return 0;
}

/* The first walk finds the last copy of each layer, and numbers the copy in the layer's fill_id,
 * which means nothing in a dry run. The second walk uses the last copies, in the order of the
 * lists. A flush evicts what is not pinned. */
static int build_layers(const struct scheduler_snapshot *snapshot, struct scheduler *scheduler,
                        struct model *const *models)
{
    for (size_t i = 0; i < snapshot->n_layers; i++) {
        struct layer *layer = layer_of(snapshot, &snapshot->layers[i], models);
        if (layer)
            layer->fill_id = i + 1;
    }
    for (size_t i = 0; i < snapshot->n_layers; i++) {
        const struct layer_copy *from = &snapshot->layers[i];
        struct layer *layer = layer_of(snapshot, from, models);
        if (!layer || layer->fill_id != i + 1)
            continue;
        layer->fill_id = 0;
        if (from->n_pages == 0 || (i < snapshot->n_flushed && !from->is_pinned))
            continue;
        int r = build_layer(from, scheduler, layer);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The copies already know which layers may be evicted. */
static int build_uses(const struct scheduler_snapshot *snapshot, struct model *const *models)
{
    for (size_t i = 0; i < snapshot->n_models; i++) {
        if (!snapshot->models[i].uses)
            continue;
        struct layer_uses *uses = layer_uses_copy(snapshot->models[i].uses);
        if (!uses)
            return -ENOMEM;
        layer_uses_free(models[i]->uses);
        models[i]->uses = uses;
    }
    return 0;
}

static int build_runs(const struct scheduler_snapshot *snapshot, struct scheduler *scheduler,
                      struct model *const *models)
{
    for (size_t i = 0; i < snapshot->n_runs; i++) {
        const struct run_copy *from = &snapshot->runs[i];
        struct layer *layers = models[from->model]->layers;
        struct run *to;
        int r = scheduler_begin_run(scheduler, models[from->model], &to);
        if (r < 0)
            return r;
        to->next = &layers[from->next];
        for (uint32_t k = 0; k < RUN_DEPTH_MAX; k++)
            to->ahead[k] = from->ahead[k] == NO_LAYER ? NULL : &layers[from->ahead[k]];
        to->n_passes = from->n_passes;
    }
    return 0;
}

int scheduler_from_snapshot(const struct scheduler_snapshot *snapshot, struct scheduler **ret)
{
    struct arena *arena;
    int r = arena_new(snapshot->capacity_bytes, snapshot->page_bytes, &arena);
    if (r < 0)
        return r;
    _cleanup_(scheduler_freep) struct scheduler *copy = NULL;
    r = scheduler_new(arena, snapshot->policy, &copy);
    if (r < 0)
        return r;
    copy->now_usec = snapshot->now_usec;
    _cleanup_(freep) struct model **models = calloc(snapshot->n_models + 1, sizeof *models);
    if (!models)
        return -ENOMEM;
    r = build_models(snapshot, copy, models);
    if (r == 0)
        r = build_layers(snapshot, copy, models);
    if (r == 0)
        r = build_uses(snapshot, models);
    if (r == 0)
        r = build_runs(snapshot, copy, models);
    if (r == 0)
        *ret = TAKE_PTR(copy);
    return r;
}
