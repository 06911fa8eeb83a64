/* Owns the copy of a scheduler for a dry run: the snapshot, which takes one pass over the layers
 * that hold pages, and the scheduler that is built from it.
 *
 * Invariant: a snapshot refers to no part of the scheduler except its definitions, which are
 * immutable and reference-counted. So a worker may use it while the scheduler changes. */
#include "daemon/scheduler/scheduler_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct model_copy {
    const struct model *from; /* only for comparisons */
    struct definition *definition;
    bool *keep;              /* for each layer; NULL: the model has no plan */
    struct model_uses *uses; /* NULL: see scheduler_take_snapshot */
    uint32_t look_ahead, depth, period;
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    uint64_t compute_usec, planned_pages;
    double planned_compute_per_page;
};

/* The copy of how layers are used takes up to 80 bytes for each, and must not take long. */
enum { USES_COPIED_MAX = 100000 };

struct layer_copy {
    uint64_t n_pages, used_usec;
    uint32_t index;
    uint16_t model; /* index in the snapshot's models */
    bool ahead, is_pinned;
};
_Static_assert(SCHEDULER_MODELS_MAX <= UINT16_MAX, "a model's place needs more bits");
_Static_assert(sizeof(struct layer_copy) == 24, "as scheduler.h says");

enum { NO_LAYER = UINT32_MAX };

struct run_copy {
    uint16_t model;
    uint32_t next, ahead[RUN_DEPTH_MAX]; /* NO_LAYER: none */
    uint64_t n_passes;
};

struct scheduler_snapshot {
    uint64_t capacity_bytes, page_bytes, now_usec;
    const struct policy *policy;
    struct model_copy *models; /* in order of registration */
    uint16_t *by_address;      /* indexes of `models`, sorted by `from` */
    struct layer_copy *layers; /* first the loading, then the evictable, then the pinned layers */
    struct run_copy *runs;
    size_t n_models, n_loading, n_layers, n_runs;
};

struct scheduler_snapshot *scheduler_snapshot_free(struct scheduler_snapshot *snapshot)
{
    if (!snapshot)
        return NULL;
    for (size_t i = 0; i < snapshot->n_models; i++) {
        definition_unref(snapshot->models[i].definition);
        free(snapshot->models[i].keep);
        model_uses_free(snapshot->models[i].uses);
    }
    free(snapshot->models);
    free(snapshot->by_address);
    free(snapshot->layers);
    free(snapshot->runs);
    free(snapshot);
    return NULL;
}

static int compare_places(const void *left, const void *right, void *context)
{
    const struct model_copy *models = context;
    uintptr_t a = (uintptr_t)models[*(const uint16_t *)left].from;
    uintptr_t b = (uintptr_t)models[*(const uint16_t *)right].from;
    return (a > b) - (a < b);
}

static int take_models(const struct scheduler *scheduler, struct scheduler_snapshot *snapshot)
{
    for (const struct model *from = scheduler->models; from; from = from->next) {
        struct model_copy *copy = &snapshot->models[snapshot->n_models];
        uint32_t n_layers = from->definition->n_layers;
        bool *keep = NULL;
        if (from->has_plan) {
            keep = malloc(n_layers * sizeof *keep);
            if (!keep)
                return -ENOMEM;
            for (uint32_t i = 0; i < n_layers; i++)
                keep[i] = from->layers[i].keep;
        }
        struct model_uses *uses = NULL;
        if (scheduler->policy == &policy_expected_use && scheduler->n_layers <= USES_COPIED_MAX &&
            !(uses = model_uses_copy(from->uses))) {
            free(keep);
            return -ENOMEM;
        }
        *copy = (struct model_copy){
            .from = from,
            .definition = definition_ref(from->definition),
            .keep = keep,
            .uses = uses,
            .look_ahead = from->look_ahead,
            .depth = from->depth,
            .period = from->period,
            .compute_usec = from->compute_usec,
            .planned_pages = from->planned_pages,
            .planned_compute_per_page = from->planned_compute_per_page,
        };
        memcpy(copy->schedule, from->schedule, sizeof copy->schedule);
        snapshot->by_address[snapshot->n_models] = (uint16_t)snapshot->n_models;
        snapshot->n_models++;
    }
    qsort_r(snapshot->by_address, snapshot->n_models, sizeof *snapshot->by_address, compare_places,
            snapshot->models);
    return 0;
}

/* The model's index in the snapshot. */
static uint16_t find_place(const struct scheduler_snapshot *snapshot, const struct model *model)
{
    size_t low = 0, high = snapshot->n_models - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uintptr_t)snapshot->models[snapshot->by_address[middle]].from < (uintptr_t)model)
            low = middle + 1;
        else
            high = middle;
    }
    return snapshot->by_address[low];
}

static void take_layers(const struct layer_list *list, struct scheduler_snapshot *snapshot)
{
    const struct model *model = NULL;
    uint16_t place = 0;
    for (const struct layer *from = list->oldest; from; from = from->newer) {
        if (from->model != model) {
            model = from->model;
            place = find_place(snapshot, model);
        }
        snapshot->layers[snapshot->n_layers++] = (struct layer_copy){
            .n_pages = from->allocation.n_pages,
            .used_usec = from->used_usec,
            .index = from->index,
            .model = place,
            .ahead = from->ahead,
            .is_pinned = from->n_pins > 0,
        };
    }
}

static void take_runs(const struct scheduler *scheduler, struct scheduler_snapshot *snapshot)
{
    const struct run *from;
    TAILQ_FOREACH (from, &scheduler->runs, entry) {
        struct run_copy *copy = &snapshot->runs[snapshot->n_runs++];
        copy->model = find_place(snapshot, from->model);
        copy->next = from->next->index;
        copy->n_passes = from->n_passes;
        for (uint32_t i = 0; i < RUN_DEPTH_MAX; i++)
            copy->ahead[i] = from->ahead[i] ? from->ahead[i]->index : NO_LAYER;
    }
}

int scheduler_take_snapshot(const struct scheduler *scheduler, struct scheduler_snapshot **ret)
{
    const struct scheduler_stats *stats = &scheduler->stats;
    size_t n_layers = stats->layers_loading + stats->layers_resident;
    _cleanup_(scheduler_snapshot_freep) struct scheduler_snapshot *snapshot =
        calloc(1, sizeof *snapshot);
    if (!snapshot)
        return -ENOMEM;
    snapshot->capacity_bytes = scheduler_capacity_bytes(scheduler);
    snapshot->page_bytes = arena_page_bytes(scheduler->arena);
    snapshot->policy = scheduler->policy;
    snapshot->now_usec = scheduler->now_usec;
    /* One element more than needed, so that an empty array is no failure. */
    snapshot->models = calloc(stats->n_models + 1, sizeof *snapshot->models);
    snapshot->by_address = calloc(stats->n_models + 1, sizeof *snapshot->by_address);
    snapshot->layers = reallocarray(NULL, n_layers + 1, sizeof *snapshot->layers);
    snapshot->runs = calloc(stats->n_runs + 1, sizeof *snapshot->runs);
    if (!snapshot->models || !snapshot->by_address || !snapshot->layers || !snapshot->runs)
        return -ENOMEM;
    int r = take_models(scheduler, snapshot);
    if (r < 0)
        return r;
    take_layers(&scheduler->loading, snapshot);
    snapshot->n_loading = snapshot->n_layers;
    take_layers(&scheduler->evictable, snapshot);
    take_layers(&scheduler->pinned, snapshot);
    take_runs(scheduler, snapshot);
    *ret = TAKE_PTR(snapshot);
    return 0;
}

static int build_models(const struct scheduler_snapshot *snapshot, struct scheduler *scheduler,
                        struct model **models)
{
    for (size_t i = 0; i < snapshot->n_models; i++) {
        const struct model_copy *from = &snapshot->models[i];
        struct model *to = models[i] = model_new(from->definition);
        if (!to)
            return -ENOMEM;
        scheduler_link_model(scheduler, to);
        to->has_plan = from->keep;
        to->look_ahead = from->look_ahead;
        to->depth = from->depth;
        to->compute_usec = from->compute_usec;
        to->planned_pages = from->planned_pages;
        to->planned_compute_per_page = from->planned_compute_per_page;
        to->period = from->period;
        memcpy(to->schedule, from->schedule, sizeof to->schedule);
        for (uint32_t k = 0; from->keep && k < from->definition->n_layers; k++)
            to->layers[k].keep = from->keep[k];
    }
    return 0;
}

/* Brings the layers into their states, in the order of their lists. */
static int build_layers(const struct scheduler_snapshot *snapshot, struct scheduler *scheduler,
                        struct model *const *models)
{
    for (size_t i = 0; i < snapshot->n_layers; i++) {
        const struct layer_copy *from = &snapshot->layers[i];
        struct layer *to = &models[from->model]->layers[from->index];
        int r = scheduler_step_layer(scheduler, to, LAYER_LOADING, from->n_pages);
        if (r < 0)
            return r;
        to->used_usec = from->used_usec;
        to->ahead = from->ahead;
        if (i >= snapshot->n_loading)
            scheduler_step_layer(scheduler, to, LAYER_RESIDENT, 0);
        if (from->is_pinned)
            scheduler_pin(scheduler, to);
    }
    return 0;
}

/* The copies already know which layers may be evicted. */
static int build_uses(const struct scheduler_snapshot *snapshot, struct model *const *models)
{
    for (size_t i = 0; i < snapshot->n_models; i++) {
        if (!snapshot->models[i].uses)
            continue;
        struct model_uses *uses = model_uses_copy(snapshot->models[i].uses);
        if (!uses)
            return -ENOMEM;
        model_uses_free(models[i]->uses);
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

int scheduler_clone(const struct scheduler *scheduler, struct scheduler **ret)
{
    _cleanup_(scheduler_snapshot_freep) struct scheduler_snapshot *snapshot = NULL;
    int r = scheduler_take_snapshot(scheduler, &snapshot);
    return r < 0 ? r : scheduler_from_snapshot(snapshot, ret);
}
