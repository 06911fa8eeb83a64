#include "daemon/scheduler/scheduler_together.h"

#include "daemon/scheduler/scheduler_internal.h"

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

uint64_t scheduler_footprint_together(const struct scheduler *scheduler,
                                      const struct layer_set *set, uint64_t *ret_bytes)
{
    uint64_t n_pages = 0, n_bytes = 0, layer_bytes;

    for (uint32_t i = 0; i < set->n; i++) {
        n_pages = add(n_pages, scheduler_footprint(scheduler, set->layers[i], &layer_bytes));
        n_bytes = add(n_bytes, layer_bytes);
    }
    if (ret_bytes)
        *ret_bytes = n_bytes;
    return n_pages;
}

bool scheduler_can_place_together(const struct scheduler *scheduler, const struct layer_set *set)
{
    uint64_t n_pages = 0;

    for (uint32_t i = 0; i < set->n; i++) {
        const struct layer *layer = set->layers[i];
        enum layer_state state = scheduler_layer_state(scheduler, layer);
        /* Those that are loading or pinned keep the places that they have. */
        if (state == LAYER_ABSENT || (state == LAYER_RESIDENT && layer->n_pins == 0))
            n_pages = add(n_pages, scheduler_footprint(scheduler, layer, NULL));
    }
    return n_pages <= scheduler_placeable_pages(scheduler);
}

enum decision scheduler_decide_together(struct scheduler *scheduler, const struct layer_set *set)
{
    bool fit = scheduler_footprint_together(scheduler, set, NULL) <=
               arena_capacity_pages(scheduler->arena);
    enum decision decision = !fit                                           ? DECISION_OUT_OF_MEMORY
                             : scheduler_can_place_together(scheduler, set) ? DECISION_LOADED
                                                                            : DECISION_BUSY;
    if (decision != DECISION_LOADED)
        scheduler_refuse(scheduler, set->layers[0], decision);
    return decision;
}

uint64_t layer_set_fill_id(const struct layer_set *set)
{
    uint64_t fill_id = 0;

    for (uint32_t i = 0; i < set->n; i++)
        if (fill_id < set->layers[i]->fill_id)
            fill_id = set->layers[i]->fill_id;
    return fill_id;
}
