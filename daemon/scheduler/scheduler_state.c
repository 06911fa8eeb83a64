/* Owns the steps from one state of a layer to another: the lists of layers, the counts, and the
 * calls of the observer. Leaves requests to scheduler_request.c. */
#include "daemon/scheduler/scheduler_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void layer_list_append(struct layer_list *list, struct layer *layer)
{
    layer->older = list->newest;
    layer->newer = NULL;
    *(list->newest ? &list->newest->newer : &list->oldest) = layer;
    list->newest = layer;
}

void layer_list_remove(struct layer_list *list, struct layer *layer)
{
    *(layer->older ? &layer->older->newer : &list->oldest) = layer->newer;
    *(layer->newer ? &layer->newer->older : &list->newest) = layer->older;
}

int layer_list_copy(const struct layer_list *list, size_t n_layers, struct layer ***ret)
{
    struct layer **layers = NULL;
    if (n_layers > 0) {
        layers = reallocarray(NULL, n_layers, sizeof *layers);
        if (!layers)
            return -ENOMEM;
        size_t n = 0;
        for (struct layer *layer = list->oldest; layer; layer = layer->newer)
            layers[n++] = layer;
        assert(n == n_layers);
    }
    *ret = layers;
    return 0;
}

void scheduler_tell(const struct scheduler *scheduler, struct scheduler_event event)
{
    event.requester = scheduler->requester;
    event.successor = scheduler->making_place_for;
    event.policy = event.successor ? scheduler->policy : NULL;
    event.trimmed = scheduler->is_trimming;
    if (scheduler->observer)
        scheduler->observer(&event, scheduler->context);
}

void scheduler_tell_of_layer(const struct scheduler *scheduler, int type, const struct layer *layer)
{
    scheduler_tell(scheduler, (struct scheduler_event){.type = (enum scheduler_event_type)type,
                                                       .model = layer->model,
                                                       .layer = layer,
                                                       .bytes = layer_definition(layer)->bytes});
}

/* Counts what a flush has evicted, when the model is used again. While layers of it are pinned that
 * is at once, because they are counted again after the flush. */
void scheduler_renew_counts(const struct scheduler *scheduler, struct model *model)
{
    if (model->epoch == scheduler->epoch)
        return;
    model->epoch = scheduler->epoch;
    model->stats.evictions += model->n_resident - model->n_pinned;
    model->n_resident = model->resident_bytes = model->streamed_bytes = 0;
    model->n_counted = model->definition->n_layers;
}

/* Counts a resident layer in (1) or out (-1), while it holds its pages. Adding the two's complement
 * subtracts. */
static void count_resident(struct scheduler *scheduler, const struct layer *layer, int sign)
{
    struct model *model = layer->model;
    uint64_t bytes = (uint64_t)sign * layer_definition(layer)->bytes;

    scheduler_renew_counts(scheduler, model);
    model->n_resident += (uint64_t)sign;
    model->resident_bytes += bytes;
    if (layer->index < model->n_counted && !layer_is_kept(layer))
        model->streamed_bytes += bytes;
    scheduler->stats.layers_resident += (uint64_t)sign;
    scheduler->stats.resident_bytes += (uint64_t)sign * layer_definition(layer)->bytes;
}

void scheduler_list_evictable(struct scheduler *scheduler, struct layer *layer, int sign)
{
    if (sign > 0) {
        layer_list_append(&scheduler->evictable, layer);
        layer_uses_offer(layer->model->uses, layer->index);
    } else {
        scheduler_note_unlisted(scheduler, layer);
        layer_list_remove(&scheduler->evictable, layer);
        layer_uses_withdraw(layer->model->uses, layer->index);
    }
    scheduler->can_give_way.n_layers += (uint64_t)sign;
    scheduler->can_give_way.pages += (uint64_t)sign * layer->allocation.n_pages;
    scheduler->can_give_way.bytes += (uint64_t)sign * layer_definition(layer)->bytes;
}

int scheduler_step_layer(struct scheduler *scheduler, struct layer *layer, enum layer_state to,
                         uint64_t n_pages)
{
    static const int events[][3] = {
        [LAYER_ABSENT] = {-1, EVENT_LAYER_LOADING, -1},
        [LAYER_LOADING] = {EVENT_LAYER_ABANDONED, -1, EVENT_LAYER_LOADED},
        [LAYER_RESIDENT] = {EVENT_LAYER_EVICTED, -1, -1},
    };
    enum layer_state from = scheduler_layer_state(scheduler, layer);
    int type = events[from][to];
    assert(type >= 0);

    if (to == LAYER_LOADING) {
        int r = arena_alloc(scheduler->arena, n_pages, &layer->allocation);
        if (r < 0)
            return r;
    }
    if (from == LAYER_LOADING) {
        layer_list_remove(&scheduler->loading, layer);
        scheduler->stats.layers_loading--;
        layer->model->n_loading--;
        layer->model->usage.loading_bytes -= layer_definition(layer)->bytes;
    } else if (from == LAYER_RESIDENT) {
        assert(layer->n_pins == 0);
        scheduler_list_evictable(scheduler, layer, -1);
        count_resident(scheduler, layer, -1);
        layer->model->stats.evictions += scheduler->making_place_for != NULL;
    }
    if (to == LAYER_LOADING) {
        layer_list_append(&scheduler->loading, layer);
        scheduler->stats.layers_loading++;
        layer->model->n_loading++;
        layer->model->usage.loading_bytes += layer_definition(layer)->bytes;
    } else if (to == LAYER_RESIDENT) {
        scheduler_list_evictable(scheduler, layer, 1);
        count_resident(scheduler, layer, 1);
    } else {
        arena_release(scheduler->arena, &layer->allocation);
    }
    layer->state = to;
    scheduler_note_layer(scheduler, layer);
    scheduler_touch_model(scheduler, layer->model);
    scheduler_tell_of_layer(scheduler, type, layer);
    return 0;
}

void scheduler_adopt(struct scheduler *scheduler, struct layer *const *residents,
                     size_t n_residents, uint64_t last_fill_id, uint64_t loaded_bytes)
{
    for (size_t i = 0; i < n_residents; i++) {
        struct layer *layer = residents[i];
        assert(arena_holds(scheduler->arena, &layer->allocation));
        layer->state = LAYER_RESIDENT;
        scheduler_list_evictable(scheduler, layer, 1);
        count_resident(scheduler, layer, 1);
    }
    scheduler->last_fill_id = last_fill_id;
    scheduler->stats.loaded_bytes = loaded_bytes;
}

void scheduler_flush(struct scheduler *scheduler)
{
    struct scheduler_event event = {.type = EVENT_FLUSHED,
                                    .bytes = scheduler->can_give_way.bytes,
                                    .n_layers = scheduler->can_give_way.n_layers};
    if (event.n_layers == 0)
        return;
    if (scheduler_holds_only_evictable(scheduler))
        arena_reset(scheduler->arena);
    else
        for (struct layer *layer = scheduler->evictable.oldest; layer; layer = layer->newer)
            arena_release(scheduler->arena, &layer->allocation);
    scheduler->epoch++;
    scheduler->evictable = (struct layer_list){0};
    memset(&scheduler->can_give_way, 0, sizeof scheduler->can_give_way);
    scheduler_note_flush(scheduler);
    scheduler->stats.layers_resident = 0;
    scheduler->stats.resident_bytes = 0;
    for (const struct layer *layer = scheduler->pinned.oldest; layer; layer = layer->newer)
        count_resident(scheduler, layer, 1);
    for (struct model *model = scheduler->models; model; model = model->next) {
        layer_uses_withdraw_all(model->uses);
        scheduler_touch_model(scheduler, model);
    }
    scheduler_tell(scheduler, event);
}
