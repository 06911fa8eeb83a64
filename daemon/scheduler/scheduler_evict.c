/* Owns evictions for a layer that needs room: what the policy chooses from, the steps of its
 * victims, and the portions in which many of them give way. Leaves to scheduler_request.c what a
 * request is answered.
 *
 * A portion is evicted for a layer that has no pages yet. Between two portions other requests may
 * take the pages, or use the layers that would give way next; each portion is chosen anew. */
#include "daemon/scheduler/scheduler_internal.h"

#include <assert.h>

/* How many of the evictable layers are of models without runs. Only next-use asks. */
static uint64_t count_outside_runs(const struct scheduler *scheduler)
{
    uint64_t n = 0;
    for (const struct model *model = scheduler->models; model; model = model->next)
        if (model->n_runs == 0)
            n += scheduler_model_resident(scheduler, model, NULL) - model->n_pinned;
    return n;
}

struct policy_view scheduler_view(const struct scheduler *scheduler, uint64_t needed_pages,
                                  size_t n_victims_max)
{
    return (struct policy_view){
        .arena = scheduler->arena,
        .oldest = scheduler->evictable.oldest,
        .n_outside_runs =
            TAILQ_EMPTY(&scheduler->runs) ? UINT64_MAX : count_outside_runs(scheduler),
        .runs = &scheduler->runs,
        .models = scheduler->models,
        .now_usec = scheduler->now_usec,
        .needed_pages = needed_pages,
        .n_victims_max = n_victims_max,
    };
}

void scheduler_evict(struct scheduler *scheduler, const struct layer *layer,
                     const struct victims *victims)
{
    scheduler->stats.evictions += victims->n_layers;
    scheduler->making_place_for = layer;
    for (size_t i = 0; i < victims->n_listed; i++)
        scheduler_step_layer(scheduler, victims->layers[i], LAYER_ABSENT, 0);
    scheduler->making_place_for = NULL;
}

static void flush_for(struct scheduler *scheduler, const struct layer *layer)
{
    scheduler->stats.evictions += scheduler->can_give_way.n_layers;
    scheduler->stats.flushes++;
    scheduler->making_place_for = layer;
    scheduler_flush(scheduler);
    scheduler->making_place_for = NULL;
}

void scheduler_reserve(struct scheduler *scheduler, struct layer *layer, uint64_t n_pages,
                       struct verdict *verdict)
{
    if (verdict->decision == DECISION_MUST_UNLOAD) {
        scheduler->stats.decisions[DECISION_MUST_UNLOAD]++;
        verdict->flushed = scheduler->policy->everything;
        if (verdict->flushed)
            flush_for(scheduler, layer);
        else
            scheduler_evict(scheduler, layer, &verdict->victims);
    }
    layer->ahead = 0;
    int r = scheduler_step_layer(scheduler, layer, LAYER_LOADING, n_pages);
    assert(r == 0);
    (void)r;
}

/* Whether a flush in portions ends with this one, which is a flush in one step. */
static bool ends_flush(const struct scheduler *scheduler, const struct room *room)
{
    return scheduler->policy->everything && room->n_layers > 0 &&
           (scheduler_holds_only_evictable(scheduler) ||
            scheduler->can_give_way.n_layers <= SCHEDULER_PORTION);
}

/* Whether a request for the layer would evict too many layers at once. */
static bool needs_portions(const struct scheduler *scheduler, uint64_t needed_pages,
                           const struct room *room)
{
    if (scheduler->can_give_way.n_layers <= SCHEDULER_PORTION)
        return false;
    return scheduler->policy->everything ? !scheduler_holds_only_evictable(scheduler) &&
                                               (needed_pages > 0 || room->n_layers > 0)
                                         : needed_pages > 0;
}

/* Returns 1 after a portion, 0 if no more is to be evicted before a request, or -ENOMEM. */
static int make_room(struct scheduler *scheduler, const struct layer *layer, struct room *room)
{
    uint64_t n_pages = scheduler_footprint(scheduler, layer, NULL);
    uint64_t free_pages = arena_free_pages(scheduler->arena);
    uint64_t needed_pages = n_pages > free_pages ? n_pages - free_pages : 0;
    _cleanup_(victims_done) struct victims victims = {0};

    if (scheduler_layer_state(scheduler, layer) != LAYER_ABSENT ||
        !scheduler_can_place(scheduler, layer))
        return 0;
    if (ends_flush(scheduler, room)) {
        room->n_layers += scheduler->can_give_way.n_layers;
        room->pages += scheduler->can_give_way.pages;
        room->flushed = true;
        flush_for(scheduler, layer);
        return 0;
    }
    if (!needs_portions(scheduler, needed_pages, room))
        return 0;
    if (scheduler->policy->everything)
        needed_pages = UINT64_MAX;
    struct policy_view view = scheduler_view(scheduler, needed_pages, SCHEDULER_PORTION);
    int r = scheduler->policy->choose(&view, &victims);
    if (r < 0 || victims.pages >= needed_pages)
        return r;
    scheduler_evict(scheduler, layer, &victims);
    room->n_layers += victims.n_layers;
    room->pages += victims.pages;
    return 1;
}

int scheduler_request_in_portions(struct scheduler *scheduler, struct layer *layer,
                                  enum on_full on_full, uint64_t now_usec, struct room *room,
                                  struct verdict *ret)
{
    scheduler_begin_request(scheduler, layer, now_usec);
    int r = on_full == ON_FULL_EVICT ? make_room(scheduler, layer, room) : 0;
    if (r == 0)
        r = scheduler_request(scheduler, layer, on_full, now_usec, ret);
    if (r != 0)
        return r;
    ret->victims.n_layers += room->n_layers;
    ret->victims.pages += room->pages;
    if (room->flushed && ret->decision == DECISION_LOADED) {
        ret->decision = DECISION_MUST_UNLOAD;
        ret->flushed = true;
        scheduler->stats.decisions[DECISION_MUST_UNLOAD]++;
    }
    *room = (struct room){0};
    return 0;
}

int scheduler_request_whole(struct scheduler *scheduler, struct layer *layer, enum on_full on_full,
                            uint64_t now_usec, struct verdict *ret)
{
    struct room room = {0};
    int r;
    do
        r = scheduler_request_in_portions(scheduler, layer, on_full, now_usec, &room, ret);
    while (r > 0);
    return r;
}

void scheduler_hold_model(struct model *model)
{
    model->n_holds++;
}

void scheduler_let_go_of_model(struct model *model)
{
    assert(model->n_holds > 0);
    model->n_holds--;
}

/* Whether nobody has used the layer since `before_usec`. Its model is not in use. */
static bool is_unused(const struct scheduler *scheduler, const struct layer *layer,
                      uint64_t before_usec)
{
    return scheduler_layer_state(scheduler, layer) == LAYER_RESIDENT && layer->n_pins == 0 &&
           layer->used_usec < before_usec;
}

static bool is_in_use(const struct scheduler *scheduler, const struct model *model)
{
    return model->n_runs > 0 || model->n_loading > 0 || model->n_holds > 0 ||
           scheduler_model_resident(scheduler, model, NULL) == 0;
}

bool scheduler_trim_portion(struct scheduler *scheduler, struct trim_walk *walk,
                            uint64_t before_usec)
{
    enum { LOOKS_MAX = 10000 };
    unsigned n_left = SCHEDULER_PORTION, n_looks = LOOKS_MAX;
    struct model *model = scheduler->models;

    while (model && model->registration < walk->registration)
        model = model->next;
    scheduler->is_trimming = true;
    while (model && n_left > 0 && n_looks > 0) {
        if (model->registration != walk->registration)
            *walk = (struct trim_walk){.registration = model->registration};
        if (is_in_use(scheduler, model) || walk->layer == model->definition->n_layers) {
            walk->registration++;
            walk->layer = 0;
            model = model->next;
            continue;
        }
        struct layer *layer = &model->layers[walk->layer++];
        n_looks--;
        if (is_unused(scheduler, layer, before_usec)) {
            scheduler->stats.trimmed++;
            scheduler_step_layer(scheduler, layer, LAYER_ABSENT, 0);
            n_left--;
        }
    }
    scheduler->is_trimming = false;
    return model != NULL;
}
