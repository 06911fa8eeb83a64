/* Owns the list of the scheduler's models: registration with its limits, removal, lookup, and the
 * copy of everything for a dry run. Requests, and with them the layers' states, are
 * scheduler_request.c's. */
#include "daemon/scheduler/scheduler_internal.h"

#include <errno.h>
#include <string.h>

static void link_model(struct scheduler *scheduler, struct model *model)
{
    *scheduler->models_end = model;
    scheduler->models_end = &model->next;
    scheduler->stats.n_models++;
    scheduler->n_layers += model->definition->n_layers;
}

int scheduler_add_model(struct scheduler *scheduler, struct definition *definition,
                        struct model **ret, struct model_refusal *ret_refusal)
{
    if (scheduler_find_model(scheduler, definition->name)) {
        *ret_refusal = (struct model_refusal){.error = ERROR_ALREADY_LOADED};
        return -EPERM;
    }
    bool models = scheduler->stats.n_models >= SCHEDULER_MODELS_MAX;
    if (models || definition->n_layers > SCHEDULER_LAYERS_MAX - scheduler->n_layers) {
        *ret_refusal = (struct model_refusal){.error = ERROR_LIMIT_EXCEEDED,
                                              .limit = models ? "models" : "layers",
                                              .maximum = models ? (uint64_t)SCHEDULER_MODELS_MAX
                                                                : SCHEDULER_LAYERS_MAX};
        return -EPERM;
    }
    struct model *model = model_new(definition);
    if (!model)
        return -ENOMEM;
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        uint64_t bytes;
        if (scheduler_footprint(scheduler, &model->layers[i], &bytes) <=
            arena_capacity_pages(scheduler->arena))
            continue;
        *ret_refusal =
            (struct model_refusal){.error = ERROR_OUT_OF_MEMORY,
                                   .layer = definition->layers[i].name,
                                   .requested_bytes = bytes,
                                   .available_bytes = scheduler_free_bytes(scheduler),
                                   .capacity_bytes = scheduler_capacity_bytes(scheduler)};
        scheduler_refuse(scheduler, &model->layers[i], DECISION_OUT_OF_MEMORY);
        model_free(model, scheduler->arena);
        return -EPERM;
    }
    link_model(scheduler, model);
    scheduler_tell(scheduler, &(struct scheduler_event){.type = EVENT_MODEL_ADDED,
                                                        .model = model,
                                                        .bytes = definition->bytes});
    *ret = model;
    return 0;
}

int scheduler_remove_model(struct scheduler *scheduler, struct model *model)
{
    if (model->n_loading > 0 || model->n_pinned > 0 || model->n_runs > 0)
        return -EBUSY;
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        scheduler_unload_layer(scheduler, &model->layers[i]);

    struct model **link = &scheduler->models;
    while (*link != model)
        link = &(*link)->next;
    *link = model->next;
    if (!*link)
        scheduler->models_end = link;
    scheduler->stats.n_models--;
    scheduler->n_layers -= model->definition->n_layers;
    scheduler_tell(scheduler,
                   &(struct scheduler_event){.type = EVENT_MODEL_REMOVED, .model = model});
    model_free(model, scheduler->arena);
    return 0;
}

struct model *scheduler_find_model(const struct scheduler *scheduler, const char *name)
{
    for (struct model *model = scheduler->models; model; model = model->next)
        if (strcmp(model->definition->name, name) == 0)
            return model;
    return NULL;
}

struct model *scheduler_first_model(const struct scheduler *scheduler)
{
    return scheduler->models;
}

uint64_t scheduler_model_resident(const struct scheduler *scheduler, const struct model *model,
                                  uint64_t *ret_bytes)
{
    bool current = model->epoch == scheduler->epoch;
    if (ret_bytes)
        *ret_bytes = current ? model->resident_bytes : 0;
    return current ? model->n_resident : 0;
}

struct copied_model {
    const struct model *from;
    struct model *to;
};

static int compare_copied(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t)((const struct copied_model *)left)->from;
    uintptr_t b = (uintptr_t)((const struct copied_model *)right)->from;
    return (a > b) - (a < b);
}

static int copy_models(const struct scheduler *scheduler, struct scheduler *copy,
                       struct copied_model *copied)
{
    size_t n = 0;
    for (const struct model *from = scheduler->models; from; from = from->next) {
        struct model *to = model_new(from->definition);
        if (!to)
            return -ENOMEM;
        link_model(copy, to);
        to->look_ahead = from->look_ahead;
        to->depth = from->depth;
        to->compute_usec = from->compute_usec;
        to->planned_pages = from->planned_pages;
        to->planned_compute_per_page = from->planned_compute_per_page;
        to->period = from->period;
        memcpy(to->schedule, from->schedule, sizeof to->schedule);
        for (uint32_t i = 0; i < from->definition->n_layers; i++)
            to->layers[i].keep = from->layers[i].keep;
        copied[n++] = (struct copied_model){.from = from, .to = to};
    }
    qsort(copied, n, sizeof *copied, compare_copied);
    return 0;
}

static struct model *copy_of(const struct model *model, const struct scheduler *copy,
                             const struct copied_model *copied)
{
    struct copied_model key = {.from = model};
    const struct copied_model *found =
        bsearch(&key, copied, copy->stats.n_models, sizeof *copied, compare_copied);
    return found->to;
}

/* Brings the copies of a list's layers to `state`, in the list's order. */
static int copy_layers(const struct layer_list *list, enum layer_state state,
                       struct scheduler *copy, const struct copied_model *copied)
{
    for (const struct layer *from = list->oldest; from; from = from->newer) {
        struct layer *to = &copy_of(from->model, copy, copied)->layers[from->index];
        int r = scheduler_step_layer(copy, to, LAYER_LOADING, from->allocation.n_pages);
        if (r < 0)
            return r;
        to->used_usec = from->used_usec;
        to->ahead = from->ahead;
        if (state == LAYER_RESIDENT)
            scheduler_step_layer(copy, to, LAYER_RESIDENT, 0);
        if (from->n_pins > 0)
            scheduler_pin(copy, to);
    }
    return 0;
}

static int copy_runs(const struct scheduler *scheduler, struct scheduler *copy,
                     const struct copied_model *copied)
{
    const struct run *from;
    TAILQ_FOREACH (from, &scheduler->runs, entry) {
        struct model *model = copy_of(from->model, copy, copied);
        struct run *to;
        int r = scheduler_begin_run(copy, model, &to);
        if (r < 0)
            return r;
        to->next = &model->layers[from->next->index];
        for (uint32_t i = 0; i < RUN_DEPTH_MAX; i++)
            to->ahead[i] = from->ahead[i] ? &model->layers[from->ahead[i]->index] : NULL;
        to->n_passes = from->n_passes;
    }
    return 0;
}

int scheduler_clone(const struct scheduler *scheduler, struct scheduler **ret)
{
    struct arena *arena;
    int r =
        arena_new(scheduler_capacity_bytes(scheduler), arena_page_bytes(scheduler->arena), &arena);
    if (r < 0)
        return r;
    _cleanup_(scheduler_freep) struct scheduler *copy = NULL;
    r = scheduler_new(arena, scheduler->policy, &copy);
    if (r < 0)
        return r;
    /* One more, so that no models are no failure. */
    _cleanup_(freep) struct copied_model *copied =
        calloc(scheduler->stats.n_models + 1, sizeof *copied);
    if (!copied)
        return -ENOMEM;
    r = copy_models(scheduler, copy, copied);
    if (r == 0)
        r = copy_layers(&scheduler->loading, LAYER_LOADING, copy, copied);
    if (r == 0)
        r = copy_layers(&scheduler->evictable, LAYER_RESIDENT, copy, copied);
    if (r == 0)
        r = copy_layers(&scheduler->pinned, LAYER_RESIDENT, copy, copied);
    if (r == 0)
        r = copy_runs(scheduler, copy, copied);
    if (r == 0)
        *ret = TAKE_PTR(copy);
    return r;
}
