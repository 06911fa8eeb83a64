/* Owns the copy of what a dry run needs of a scheduler, which is taken in portions while the
 * scheduler changes.
 *
 * Two walks copy the pinned and then the evictable layers, each list from its oldest layer on; and
 * whenever a layer changes, it is copied again. Invariant: the last copies are right for all layers
 * that the walk has passed, and those of evictable layers are in the order of their list. For a
 * layer that is used moves to the end of its list, where the walk has yet to come, and if the walk
 * is over, its new copy comes last. At the end come the layers that are loading, which are few.
 *
 * A complete snapshot refers to no part of the scheduler except what is immutable and
 * reference-counted. So a worker may use it while the scheduler changes. */
#include "daemon/scheduler/snapshot.h"

#include "daemon/scheduler/scheduler_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The copy of how layers are used takes up to 80 bytes for each, and must not take long. */
enum { USES_COPIED_MAX = 100000 };

struct scheduler_snapshot *scheduler_snapshot_free(struct scheduler_snapshot *snapshot)
{
    if (!snapshot)
        return NULL;
    scheduler_stop_snapshot(snapshot);
    for (size_t i = 0; i < snapshot->n_models; i++) {
        definition_unref(snapshot->models[i].definition);
        kept_layers_unref(snapshot->models[i].kept);
        layer_uses_free(snapshot->models[i].uses);
    }
    free(snapshot->seen);
    free(snapshot->models);
    free(snapshot->layers);
    free(snapshot->runs);
    free(snapshot);
    return NULL;
}

void scheduler_stop_snapshot(struct scheduler_snapshot *snapshot)
{
    if (snapshot->scheduler)
        LIST_REMOVE(snapshot, entry);
    snapshot->scheduler = NULL;
}

static int compare_registrations(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = ((const struct seen_model *)right)->registration;
    return (a > b) - (a < b);
}

/* The model's index in `seen`, where every registered model is. */
static uint16_t find_seen(const struct scheduler_snapshot *snapshot, const struct model *model)
{
    const struct seen_model *found = bsearch(&model->registration, snapshot->seen, snapshot->n_seen,
                                             sizeof *found, compare_registrations);
    return (uint16_t)(found - snapshot->seen);
}

static void see_model(struct scheduler_snapshot *snapshot, const struct model *model)
{
    if (snapshot->n_seen == snapshot->n_seen_allocated) {
        size_t n = 2 * snapshot->n_seen_allocated;
        struct seen_model *seen =
            n > SNAPSHOT_SEEN_MAX ? NULL : reallocarray(snapshot->seen, n, sizeof *seen);
        if (!seen) {
            snapshot->has_failed = true;
            return;
        }
        snapshot->seen = seen;
        snapshot->n_seen_allocated = n;
    }
    snapshot->seen[snapshot->n_seen++] = (struct seen_model){model->registration, SNAPSHOT_NONE};
}

static void copy_layer(struct scheduler_snapshot *snapshot, const struct layer *from,
                       uint16_t model)
{
    if (snapshot->n_layers == snapshot->n_allocated) {
        size_t n = 2 * snapshot->n_allocated;
        struct layer_copy *layers = reallocarray(snapshot->layers, n, sizeof *layers);
        if (!layers) {
            snapshot->has_failed = true;
            return;
        }
        snapshot->layers = layers;
        snapshot->n_allocated = n;
    }
    enum layer_state state = scheduler_layer_state(snapshot->scheduler, from);
    snapshot->layers[snapshot->n_layers++] = (struct layer_copy){
        .n_pages = state == LAYER_ABSENT ? 0 : from->allocation.n_pages,
        .used_usec = from->used_usec,
        .index = from->index,
        .model = model,
        .ahead = from->ahead,
        .is_pinned = from->n_pins > 0,
        .is_loading = state == LAYER_LOADING,
    };
}

void scheduler_note_layer(const struct scheduler *scheduler, const struct layer *layer)
{
    struct scheduler_snapshot *snapshot;
    LIST_FOREACH (snapshot, &scheduler->snapshots, entry)
        if (!snapshot->has_failed)
            copy_layer(snapshot, layer, find_seen(snapshot, layer->model));
}

void scheduler_note_unlisted(const struct scheduler *scheduler, const struct layer *layer)
{
    struct scheduler_snapshot *snapshot;
    LIST_FOREACH (snapshot, &scheduler->snapshots, entry)
        if (snapshot->next == layer)
            snapshot->next = layer->newer;
}

void scheduler_note_flush(const struct scheduler *scheduler)
{
    struct scheduler_snapshot *snapshot;
    LIST_FOREACH (snapshot, &scheduler->snapshots, entry) {
        snapshot->n_flushed = snapshot->n_layers;
        if (snapshot->is_in_evictable)
            snapshot->next = NULL;
    }
}

void scheduler_note_model(const struct scheduler *scheduler, const struct model *model)
{
    struct scheduler_snapshot *snapshot;
    LIST_FOREACH (snapshot, &scheduler->snapshots, entry)
        if (!snapshot->has_failed)
            see_model(snapshot, model);
}

int scheduler_begin_snapshot(struct scheduler *scheduler, struct scheduler_snapshot **ret)
{
    const struct scheduler_stats *stats = &scheduler->stats;
    struct scheduler_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot)
        return -ENOMEM;
    /* One element more than needed, so that an empty array is no failure. */
    snapshot->n_seen_allocated = stats->n_models + 1;
    snapshot->seen = reallocarray(NULL, snapshot->n_seen_allocated, sizeof *snapshot->seen);
    snapshot->n_allocated = stats->layers_loading + stats->layers_resident + 1;
    snapshot->layers = reallocarray(NULL, snapshot->n_allocated, sizeof *snapshot->layers);
    if (!snapshot->seen || !snapshot->layers) {
        scheduler_snapshot_free(snapshot);
        return -ENOMEM;
    }
    for (const struct model *model = scheduler->models; model; model = model->next)
        see_model(snapshot, model);
    snapshot->scheduler = scheduler;
    snapshot->next = scheduler->pinned.oldest;
    LIST_INSERT_HEAD(&scheduler->snapshots, snapshot, entry);
    *ret = snapshot;
    return 0;
}

static int copy_models(struct scheduler_snapshot *snapshot)
{
    const struct scheduler *scheduler = snapshot->scheduler;
    bool with_uses =
        scheduler->policy == &policy_expected_use && scheduler->n_layers <= USES_COPIED_MAX;
    for (const struct model *from = scheduler->models; from; from = from->next) {
        struct model_copy *copy = &snapshot->models[snapshot->n_models];
        struct layer_uses *uses = with_uses ? layer_uses_copy(from->uses) : NULL;
        if (with_uses && !uses)
            return -ENOMEM;
        *copy = (struct model_copy){
            .definition = definition_ref(from->definition),
            .kept = kept_layers_ref(from->kept),
            .uses = uses,
            .look_ahead = from->look_ahead,
            .depth = from->depth,
            .period = from->period,
            .compute_usec = from->compute_usec,
            .planned_pages = from->planned_pages,
            .planned_compute_per_page = from->planned_compute_per_page,
        };
        memcpy(copy->schedule, from->schedule, sizeof copy->schedule);
        snapshot->seen[find_seen(snapshot, from)].place = (uint16_t)snapshot->n_models++;
    }
    return 0;
}

static void copy_runs(struct scheduler_snapshot *snapshot)
{
    const struct run *from;
    TAILQ_FOREACH (from, &snapshot->scheduler->runs, entry) {
        struct run_copy *copy = &snapshot->runs[snapshot->n_runs++];
        copy->model = snapshot->seen[find_seen(snapshot, from->model)].place;
        copy->next = from->next->index;
        copy->n_passes = from->n_passes;
        for (uint32_t i = 0; i < RUN_DEPTH_MAX; i++)
            copy->ahead[i] = from->ahead[i] ? from->ahead[i]->index : NO_LAYER;
    }
}

static int complete(struct scheduler_snapshot *snapshot)
{
    const struct scheduler *scheduler = snapshot->scheduler;
    const struct scheduler_stats *stats = &scheduler->stats;
    for (const struct layer *layer = scheduler->loading.oldest; layer; layer = layer->newer)
        copy_layer(snapshot, layer, find_seen(snapshot, layer->model));
    snapshot->models = calloc(stats->n_models + 1, sizeof *snapshot->models);
    snapshot->runs = calloc(stats->n_runs + 1, sizeof *snapshot->runs);
    if (!snapshot->models || !snapshot->runs || snapshot->has_failed)
        return -ENOMEM;
    snapshot->capacity_bytes = scheduler_capacity_bytes(scheduler);
    snapshot->page_bytes = arena_page_bytes(scheduler->arena);
    snapshot->policy = scheduler->policy;
    snapshot->now_usec = scheduler->now_usec;
    if (copy_models(snapshot) < 0)
        return -ENOMEM;
    copy_runs(snapshot);
    scheduler_stop_snapshot(snapshot);
    return 0;
}

int scheduler_go_on_with_snapshot(struct scheduler_snapshot *snapshot, unsigned n_layers)
{
    const struct model *model = NULL;
    uint16_t place = 0;
    for (; n_layers > 0 && !snapshot->has_failed; n_layers--) {
        if (!snapshot->next && !snapshot->is_in_evictable) {
            snapshot->is_in_evictable = true;
            snapshot->next = snapshot->scheduler->evictable.oldest;
        }
        const struct layer *layer = snapshot->next;
        if (!layer)
            return complete(snapshot);
        if (layer->model != model) {
            model = layer->model;
            place = find_seen(snapshot, model);
        }
        copy_layer(snapshot, layer, place);
        snapshot->next = layer->newer;
    }
    return snapshot->has_failed ? -ENOMEM : 1;
}

uint64_t scheduler_dry_run_bytes(const struct scheduler *scheduler, const struct definition *added)
{
    enum { BYTES_PER_EXTENT = 64 }; /* in the arena's lists */
    const struct scheduler_stats *stats = &scheduler->stats;
    uint64_t n_present = stats->layers_resident + stats->layers_loading;
    uint64_t n_bytes = model_bytes(scheduler->n_layers + (added ? added->n_layers : 0)) +
                       stats->n_models * (sizeof(struct model) + sizeof(struct model_copy)) +
                       2 * n_present * sizeof(struct layer_copy) + n_present * BYTES_PER_EXTENT;
    if (scheduler->policy == &policy_expected_use && scheduler->n_layers <= USES_COPIED_MAX)
        n_bytes += model_bytes(scheduler->n_layers); /* how they are used */
    return n_bytes;
}

size_t scheduler_snapshot_copies(const struct scheduler_snapshot *snapshot)
{
    return snapshot->n_layers;
}

int scheduler_take_snapshot(struct scheduler *scheduler, struct scheduler_snapshot **ret)
{
    struct scheduler_snapshot *snapshot;
    int r = scheduler_begin_snapshot(scheduler, &snapshot);
    if (r < 0)
        return r;
    do
        r = scheduler_go_on_with_snapshot(snapshot, UINT_MAX);
    while (r > 0);
    if (r == 0)
        *ret = snapshot;
    else
        scheduler_snapshot_free(snapshot);
    return r;
}

int scheduler_clone(struct scheduler *scheduler, struct scheduler **ret)
{
    _cleanup_(scheduler_snapshot_freep) struct scheduler_snapshot *snapshot = NULL;
    int r = scheduler_take_snapshot(scheduler, &snapshot);
    return r < 0 ? r : scheduler_from_snapshot(snapshot, ret);
}
