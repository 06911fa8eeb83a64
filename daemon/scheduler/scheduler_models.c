/* Owns the list of the scheduler's models: registration with its limits, removal and lookup. Leaves
 * to others: their copy for a dry run (scheduler_snapshot.c), requests and the layers' states
 * (scheduler_request.c, scheduler_state.c). */
#include "daemon/scheduler/scheduler_internal.h"

#include <errno.h>
#include <string.h>

void scheduler_link_model(struct scheduler *scheduler, struct model *model)
{
    *scheduler->models_end = model;
    scheduler->models_end = &model->next;
    model->registration = ++scheduler->n_registrations;
    scheduler->stats.n_models++;
    scheduler->n_layers += model->definition->n_layers;
    model->changed = ++scheduler->last_change;
    TAILQ_INSERT_TAIL(&scheduler->by_change, model, by_change);
    scheduler_note_model(scheduler, model);
}

void scheduler_touch_model(struct scheduler *scheduler, struct model *model)
{
    model->changed = ++scheduler->last_change;
    TAILQ_REMOVE(&scheduler->by_change, model, by_change);
    TAILQ_INSERT_TAIL(&scheduler->by_change, model, by_change);
}

const struct model *scheduler_next_changed(const struct scheduler *scheduler, uint64_t since)
{
    const struct model *model, *found = NULL;
    TAILQ_FOREACH_REVERSE(model, &scheduler->by_change, model_list, by_change)
    {
        if (model->changed <= since)
            break;
        found = model;
    }
    return found;
}

/* Whether a limit would be exceeded, also without `known`, which has the same name or is NULL. */
static bool exceeds_limits(const struct scheduler *scheduler, const struct definition *definition,
                           const struct model *known, struct model_refusal *refusal)
{
    uint64_t n_models = scheduler->stats.n_models - (known ? 1 : 0);
    uint64_t n_layers = scheduler->n_layers - (known ? known->definition->n_layers : 0);
    bool models = n_models >= SCHEDULER_MODELS_MAX;

    if (!models && definition->n_layers <= SCHEDULER_LAYERS_MAX - n_layers)
        return false;
    *refusal = (struct model_refusal){.error = ERROR_LIMIT_EXCEEDED,
                                      .limit = models ? "models" : "layers",
                                      .maximum = models ? (uint64_t)SCHEDULER_MODELS_MAX
                                                        : SCHEDULER_LAYERS_MAX};
    return true;
}

static bool has_too_large_layer(struct scheduler *scheduler, const struct model *model,
                                struct model_refusal *refusal)
{
    uint64_t bytes, n_pages, capacity_pages = arena_capacity_pages(scheduler->arena);
    if (arena_footprint(scheduler->arena, model->largest_bytes, 0, &n_pages) == 0 &&
        n_pages <= capacity_pages)
        return false;
    const struct layer *layer = model->layers;
    while (scheduler_footprint(scheduler, layer, &bytes) <= capacity_pages)
        layer++;
    *refusal = (struct model_refusal){.error = ERROR_OUT_OF_MEMORY,
                                      .layer = layer_definition(layer)->name,
                                      .requested_bytes = bytes,
                                      .available_bytes = scheduler_free_bytes(scheduler),
                                      .capacity_bytes = scheduler_capacity_bytes(scheduler)};
    scheduler_refuse(scheduler, layer, DECISION_OUT_OF_MEMORY);
    return true;
}

int scheduler_check_model(struct scheduler *scheduler, const struct model *model,
                          const struct model *replaced, struct model_refusal *ret_refusal)
{
    const struct model *known = scheduler_find_model(scheduler, model->definition->name);
    if (exceeds_limits(scheduler, model->definition, known, ret_refusal) ||
        has_too_large_layer(scheduler, model, ret_refusal))
        return -EPERM;
    if (!known || known == replaced)
        return 0;
    *ret_refusal = (struct model_refusal){.error = ERROR_ALREADY_LOADED};
    return -EPERM;
}

void scheduler_register_model(struct scheduler *scheduler, struct model *model)
{
    scheduler_link_model(scheduler, model);
    scheduler_tell(scheduler, (struct scheduler_event){.type = EVENT_MODEL_ADDED,
                                                       .model = model,
                                                       .bytes = model->definition->bytes});
}

int scheduler_replace_model(struct scheduler *scheduler, struct model *known,
                            struct definition *definition, struct model **ret,
                            struct model_refusal *ret_refusal)
{
    struct model *model = model_new(definition);
    if (!model)
        return -ENOMEM;
    int r = scheduler_check_model(scheduler, model, known, ret_refusal);
    if (r == 0 && known)
        r = scheduler_remove_model(scheduler, known);
    if (r < 0) {
        model_free(model, NULL);
        return r;
    }
    scheduler_register_model(scheduler, model);
    *ret = model;
    return 0;
}

int scheduler_add_model(struct scheduler *scheduler, struct definition *definition,
                        struct model **ret, struct model_refusal *ret_refusal)
{
    return scheduler_replace_model(scheduler, NULL, definition, ret, ret_refusal);
}

static bool is_busy(const struct model *model)
{
    return model->n_loading > 0 || model->n_pinned > 0 || model->n_runs > 0;
}

int scheduler_unload_portion(struct scheduler *scheduler, struct model *model, uint32_t *at)
{
    enum { LOOKS_MAX = 10000 };
    uint32_t n_layers = model->definition->n_layers;
    if (is_busy(model))
        return -EBUSY;
    unsigned n_left = SCHEDULER_PORTION, n_looks = LOOKS_MAX;
    while (n_left > 0 && n_looks-- > 0 && scheduler_model_resident(scheduler, model, NULL) > 0) {
        struct layer *layer = &model->layers[*at];
        n_left -= scheduler_layer_state(scheduler, layer) == LAYER_RESIDENT;
        scheduler_unload_layer(scheduler, layer);
        *at = *at + 1 < n_layers ? *at + 1 : 0; /* layers may have come again meanwhile */
    }
    return scheduler_model_resident(scheduler, model, NULL) > 0;
}

int scheduler_remove_model(struct scheduler *scheduler, struct model *model)
{
    if (is_busy(model) || model->n_holds > 0)
        return -EBUSY;
    for (uint32_t i = 0; scheduler_model_resident(scheduler, model, NULL) > 0; i++)
        scheduler_unload_layer(scheduler, &model->layers[i]);

    struct model **link = &scheduler->models;
    while (*link != model)
        link = &(*link)->next;
    *link = model->next;
    if (!*link)
        scheduler->models_end = link;
    TAILQ_REMOVE(&scheduler->by_change, model, by_change);
    scheduler->stats.n_models--;
    scheduler->n_layers -= model->definition->n_layers;
    scheduler_tell(scheduler,
                   (struct scheduler_event){.type = EVENT_MODEL_REMOVED, .model = model});
    if (scheduler->dispose)
        scheduler->dispose(model, scheduler->dispose_context);
    else
        model_free(model, NULL);
    return 0;
}

void scheduler_on_dispose(struct scheduler *scheduler,
                          void (*dispose)(struct model *model, void *context), void *context)
{
    scheduler->dispose = dispose;
    scheduler->dispose_context = context;
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

struct model_stats scheduler_model_stats(const struct scheduler *scheduler,
                                         const struct model *model)
{
    struct model_stats stats = model->stats;
    if (model->epoch != scheduler->epoch)
        stats.evictions += model->n_resident; /* see scheduler_renew_counts */
    return stats;
}

uint64_t scheduler_model_resident(const struct scheduler *scheduler, const struct model *model,
                                  uint64_t *ret_bytes)
{
    bool current = model->epoch == scheduler->epoch;
    if (ret_bytes)
        *ret_bytes = current ? model->resident_bytes : 0;
    return current ? model->n_resident : 0;
}

uint64_t scheduler_model_streamed(const struct scheduler *scheduler, const struct model *model)
{
    return model->epoch == scheduler->epoch && model->n_runs > 0 && model->kept
               ? model->streamed_bytes
               : 0;
}
