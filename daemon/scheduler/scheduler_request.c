/* Owns the answers to requests, and with them the arena's bookkeeping.
 *
 * Invariants: a layer holds pages if and only if it is resident or loading; the pages of evictable,
 * pinned and loading layers together are the arena's used pages. All that can fail comes before the
 * first change, so a failed call changes nothing. A flush does not visit the layers, and leaves
 * their states as they are: they are absent because they hold no pages of the arena's generation.
 *
 * Leaves to others: the list of models (scheduler_models.c), evictions (scheduler_evict.c), the
 * steps between states (scheduler_state.c), runs and reading ahead (scheduler_runs.c), which layers
 * give way (policy), filling pages (loader), waiting and retrying (load_request). */
#include "daemon/scheduler/scheduler.h"

#include "daemon/scheduler/scheduler_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static const char *const on_full_names[] = {[ON_FULL_EVICT] = "evict", [ON_FULL_ASK] = "ask"};

int on_full_parse(const char *text, enum on_full *ret)
{
    for (unsigned i = 0; i < sizeof on_full_names / sizeof *on_full_names; i++)
        if (strcmp(on_full_names[i], text) == 0) {
            *ret = i;
            return 0;
        }
    return -EINVAL;
}

const char *on_full_name(enum on_full on_full)
{
    return on_full_names[on_full];
}

const char *decision_name(enum decision decision)
{
    static const char *const names[DECISION_COUNT] = {
        [DECISION_LOADED] = "loaded",
        [DECISION_MUST_UNLOAD] = "must-unload",
        [DECISION_OUT_OF_MEMORY] = "out-of-memory",
        [DECISION_BUSY] = "busy",
    };
    return names[decision];
}

int scheduler_new(struct arena *arena, const struct policy *policy, struct scheduler **ret)
{
    struct scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (!scheduler) {
        arena_free(arena);
        return -ENOMEM;
    }
    scheduler->arena = arena;
    scheduler->policy = policy;
    scheduler->models_end = &scheduler->models;
    TAILQ_INIT(&scheduler->runs);
    LIST_INIT(&scheduler->snapshots);
    TAILQ_INIT(&scheduler->by_change);
    *ret = scheduler;
    return 0;
}

struct scheduler *scheduler_free(struct scheduler *scheduler)
{
    if (!scheduler)
        return NULL;
    assert(LIST_EMPTY(&scheduler->snapshots));
    scheduler_end_runs(scheduler);
    arena_reset(scheduler->arena); /* so that no layer has pages to release */
    while (scheduler->models) {
        struct model *model = scheduler->models;
        scheduler->models = model->next;
        model_free(model, NULL);
    }
    arena_free(scheduler->arena);
    free(scheduler);
    return NULL;
}

void scheduler_set_observer(struct scheduler *scheduler, scheduler_observer observer, void *context)
{
    scheduler->observer = observer;
    scheduler->context = context;
}

void scheduler_set_requester(struct scheduler *scheduler, const struct requester *requester)
{
    scheduler->requester = requester ? *requester : (struct requester){0};
}

uint64_t scheduler_footprint(const struct scheduler *scheduler, const struct layer *layer,
                             uint64_t *ret_bytes)
{
    const struct layer_definition *definition = layer_definition(layer);
    uint64_t n_pages;
    bool fits = arena_footprint(scheduler->arena, definition->bytes, definition->shift_bytes,
                                &n_pages) == 0;
    if (ret_bytes)
        *ret_bytes = fits ? n_pages * arena_page_bytes(scheduler->arena) : UINT64_MAX;
    return fits ? n_pages : UINT64_MAX;
}

void scheduler_refuse(struct scheduler *scheduler, const struct layer *layer,
                      enum decision decision)
{
    scheduler->stats.decisions[decision]++;
    scheduler_tell(scheduler, (struct scheduler_event){.type = EVENT_REFUSED,
                                                       .model = layer->model,
                                                       .layer = layer,
                                                       .decision = decision,
                                                       .bytes = layer_definition(layer)->bytes});
}

enum layer_state scheduler_layer_state(const struct scheduler *scheduler, const struct layer *layer)
{
    return arena_holds(scheduler->arena, &layer->allocation) ? layer->state : LAYER_ABSENT;
}

uint64_t scheduler_layer_pages(const struct scheduler *scheduler, const struct layer *layer)
{
    return arena_holds(scheduler->arena, &layer->allocation) ? layer->allocation.n_pages : 0;
}

void scheduler_begin_request(struct scheduler *scheduler, const struct layer *layer,
                             uint64_t now_usec)
{
    scheduler->now_usec = now_usec;
    layer_uses_enter(layer->model->uses, layer->index, now_usec);
}

int scheduler_choose_victims(const struct scheduler *scheduler, const struct policy_view *view,
                             struct victims *ret)
{
    int r = scheduler->policy->choose(view, ret);
    if (scheduler->policy->everything) {
        ret->n_layers = scheduler->can_give_way.n_layers;
        ret->pages = scheduler->can_give_way.pages;
    }
    return r;
}

/* The layer must be absent, and need more pages than are free, but not more than the capacity. */
static int request_space(struct scheduler *scheduler, uint64_t n_pages, enum on_full on_full,
                         struct verdict *verdict)
{
    uint64_t free_pages = arena_free_pages(scheduler->arena);
    if (free_pages + scheduler->can_give_way.pages < n_pages) {
        verdict->outcome = OUTCOME_REFUSED;
        verdict->decision = DECISION_BUSY;
        verdict->n_blockers = scheduler->stats.layers_loading;
        return layer_list_copy(&scheduler->loading, verdict->n_blockers, &verdict->blockers);
    }
    bool evict = on_full == ON_FULL_EVICT, everything = scheduler->policy->everything;
    struct policy_view view = scheduler_view(scheduler, n_pages - free_pages,
                                             evict && !everything ? 0 : SCHEDULER_FORETOLD_MAX);
    verdict->outcome = evict ? OUTCOME_RESERVED : OUTCOME_REFUSED;
    verdict->decision = DECISION_MUST_UNLOAD;
    return scheduler_choose_victims(scheduler, &view, &verdict->victims);
}

int scheduler_request(struct scheduler *scheduler, struct layer *layer, enum on_full on_full,
                      uint64_t now_usec, struct verdict *ret)
{
    struct scheduler_stats *stats = &scheduler->stats;
    struct verdict verdict = {.outcome = OUTCOME_HIT,
                              .decision = DECISION_LOADED,
                              .available_bytes = scheduler_free_bytes(scheduler),
                              .capacity_bytes = scheduler_capacity_bytes(scheduler)};
    uint64_t n_pages = scheduler_footprint(scheduler, layer, &verdict.requested_bytes);
    enum layer_state state = scheduler_layer_state(scheduler, layer);

    scheduler_begin_request(scheduler, layer, now_usec);
    if (state != LAYER_ABSENT) {
        verdict.ahead = layer->ahead;
        layer->ahead = 0;
        layer_uses_add(layer->model->uses, layer->index);
    }
    if (state == LAYER_RESIDENT) {
        stats->hits += !verdict.ahead;
        layer->model->stats.hits += !verdict.ahead;
        stats->decisions[DECISION_LOADED] += !verdict.ahead;
        layer->model->usage.used_usec = layer->used_usec = now_usec;
        scheduler_touch_model(scheduler, layer->model);
        if (layer->n_pins == 0) {
            scheduler_list_evictable(scheduler, layer, -1);
            scheduler_list_evictable(scheduler, layer, 1);
        }
        scheduler_note_layer(scheduler, layer);
        *ret = verdict;
        return 0;
    }
    if (state == LAYER_LOADING) {
        stats->misses += !verdict.ahead;
        layer->model->stats.misses += !verdict.ahead;
        scheduler_touch_model(scheduler, layer->model);
        verdict.outcome = OUTCOME_LOADING;
        *ret = verdict;
        return 0;
    }

    /* First all that can fail, then the changes. */
    int r = 0;
    if (n_pages > arena_capacity_pages(scheduler->arena)) {
        verdict.outcome = OUTCOME_REFUSED;
        verdict.decision = DECISION_OUT_OF_MEMORY;
    } else if (n_pages <= arena_free_pages(scheduler->arena)) {
        verdict.outcome = OUTCOME_RESERVED;
    } else {
        r = request_space(scheduler, n_pages, on_full, &verdict);
    }
    if (r == 0 && verdict.outcome == OUTCOME_RESERVED)
        r = arena_prepare(scheduler->arena, n_pages);
    if (r < 0) {
        verdict_done(&verdict);
        return r;
    }

    stats->misses++;
    layer->model->stats.misses++;
    scheduler_touch_model(scheduler, layer->model);
    if (verdict.outcome == OUTCOME_REFUSED) {
        scheduler_refuse(scheduler, layer, verdict.decision);
    } else {
        layer_uses_add(layer->model->uses, layer->index);
        scheduler_reserve(scheduler, layer, n_pages, &verdict);
    }
    *ret = verdict;
    return 0;
}

bool scheduler_can_place(const struct scheduler *scheduler, const struct layer *layer)
{
    return scheduler_layer_state(scheduler, layer) != LAYER_ABSENT ||
           scheduler_footprint(scheduler, layer, NULL) <= scheduler_placeable_pages(scheduler);
}

uint64_t scheduler_placeable_pages(const struct scheduler *scheduler)
{
    return arena_free_pages(scheduler->arena) + scheduler->can_give_way.pages;
}

void verdict_done(struct verdict *verdict)
{
    victims_done(&verdict->victims);
    free(verdict->blockers);
    verdict->blockers = NULL;
    verdict->n_blockers = 0;
}

void scheduler_complete(struct scheduler *scheduler, struct layer *layer, uint64_t now_usec)
{
    struct scheduler_stats *stats = &scheduler->stats;
    struct model_stats *of_model = &layer->model->stats;
    bool is_again = layer->fill_id > 0;
    uint64_t n_bytes = layer_definition(layer)->bytes;

    layer->model->usage.used_usec = layer->used_usec = now_usec;
    layer->fill_id = ++scheduler->last_fill_id;
    stats->decisions[DECISION_LOADED]++;
    stats->loads++;
    stats->reloads += is_again;
    stats->loaded_bytes += n_bytes;
    of_model->loads++;
    of_model->reloads += is_again;
    of_model->loaded_bytes += n_bytes;
    scheduler_step_layer(scheduler, layer, LAYER_RESIDENT, 0);
}

void scheduler_abandon(struct scheduler *scheduler, struct layer *layer)
{
    assert(scheduler_layer_state(scheduler, layer) == LAYER_LOADING);
    layer->ahead = 0;
    scheduler_step_layer(scheduler, layer, LAYER_ABSENT, 0);
}

void scheduler_pin(struct scheduler *scheduler, struct layer *layer)
{
    assert(scheduler_layer_state(scheduler, layer) == LAYER_RESIDENT);
    if (layer->n_pins++ == 0) {
        scheduler_list_evictable(scheduler, layer, -1);
        layer_list_append(&scheduler->pinned, layer);
        scheduler->pinned_pages += layer->allocation.n_pages;
        layer->model->n_pinned++;
        layer->model->usage.pinned_bytes += layer_definition(layer)->bytes;
        scheduler_note_layer(scheduler, layer);
    }
    layer->model->usage.n_pins++;
    scheduler_touch_model(scheduler, layer->model);
    scheduler_tell_of_layer(scheduler, EVENT_LAYER_PINNED, layer);
}

void scheduler_unpin(struct scheduler *scheduler, struct layer *layer)
{
    assert(layer->n_pins > 0);
    if (--layer->n_pins == 0) {
        scheduler_note_unlisted(scheduler, layer);
        layer_list_remove(&scheduler->pinned, layer);
        scheduler->pinned_pages -= layer->allocation.n_pages;
        layer->model->n_pinned--;
        layer->model->usage.pinned_bytes -= layer_definition(layer)->bytes;
        scheduler_list_evictable(scheduler, layer, 1);
        scheduler_note_layer(scheduler, layer);
    }
    layer->model->usage.n_pins--;
    scheduler_touch_model(scheduler, layer->model);
    scheduler_tell_of_layer(scheduler, EVENT_LAYER_UNPINNED, layer);
}

/* The observer sees both numbers after the change. */
void scheduler_pin_lease(struct scheduler *scheduler, struct layer *layer, bool is_mapped)
{
    layer->n_mapped_pins += is_mapped;
    scheduler_pin(scheduler, layer);
}

void scheduler_unpin_lease(struct scheduler *scheduler, struct layer *layer, bool is_mapped)
{
    assert(layer->n_mapped_pins >= is_mapped);
    layer->n_mapped_pins -= is_mapped;
    scheduler_unpin(scheduler, layer);
}

uint64_t scheduler_pinned_pages(const struct scheduler *scheduler)
{
    return scheduler->pinned_pages;
}

const struct layer *scheduler_oldest_pinned(const struct scheduler *scheduler)
{
    return scheduler->pinned.oldest;
}

int scheduler_unload_layer(struct scheduler *scheduler, struct layer *layer)
{
    switch (scheduler_layer_state(scheduler, layer)) {
    case LAYER_LOADING:
        return -EBUSY;
    case LAYER_RESIDENT:
        return layer->n_pins > 0 ? -EBUSY : scheduler_step_layer(scheduler, layer, LAYER_ABSENT, 0);
    case LAYER_ABSENT:
        break;
    }
    return 0;
}

int scheduler_reset(struct scheduler *scheduler)
{
    if (!scheduler_holds_only_evictable(scheduler))
        return -EBUSY;
    /* No layer makes room for another one, so the models must not count evictions. */
    for (struct model *model = scheduler->models; model; model = model->next) {
        model->stats = scheduler_model_stats(scheduler, model);
        model->n_resident = 0;
    }
    scheduler_flush(scheduler);
    return 0;
}

int scheduler_loading(const struct scheduler *scheduler, struct layer ***ret, size_t *ret_n)
{
    size_t n_layers = scheduler->stats.layers_loading;
    int r = layer_list_copy(&scheduler->loading, n_layers, ret);
    if (r == 0)
        *ret_n = n_layers;
    return r;
}

void scheduler_set_policy(struct scheduler *scheduler, const struct policy *policy)
{
    if (scheduler->policy == policy)
        return;
    const struct policy *before = scheduler->policy;
    scheduler->policy = policy;
    scheduler_tell(scheduler, (struct scheduler_event){.type = EVENT_POLICY_CHANGED,
                                                       .policy_before = before,
                                                       .policy_after = policy});
}

const struct policy *scheduler_policy(const struct scheduler *scheduler)
{
    return scheduler->policy;
}

const struct arena *scheduler_arena(const struct scheduler *scheduler)
{
    return scheduler->arena;
}

void scheduler_get_stats(const struct scheduler *scheduler, struct scheduler_stats *ret)
{
    *ret = scheduler->stats;
}
