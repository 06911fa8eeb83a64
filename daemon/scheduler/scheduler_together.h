/* Layers of one model that must be resident at the same time. Each is requested by itself; these
 * functions say before whether all of them can have room. */
#pragma once

#include "daemon/scheduler/scheduler.h"

/* Borrows the layers and the name. */
struct layer_set {
    struct layer *const *layers; /* each only once */
    uint32_t n;                  /* > 0 */
    const char *units_of;        /* the layer whose units they are; NULL: one whole layer */
};

/* The pages that they need, and in bytes for errors; both saturate. `ret_bytes` may be NULL. */
uint64_t scheduler_footprint_together(const struct scheduler *scheduler,
                                      const struct layer_set *set, uint64_t *ret_bytes);

/* Whether none of them would have to give way for another one, if all were requested now. */
bool scheduler_can_place_together(const struct scheduler *scheduler, const struct layer_set *set);

/* DECISION_LOADED if they can be placed together. DECISION_OUT_OF_MEMORY if they are larger than
 * the arena, else DECISION_BUSY; this counts and is told as the refusal of the first layer. */
enum decision scheduler_decide_together(struct scheduler *scheduler, const struct layer_set *set);

/* The number of the last load of any of them. As long as it stays the same, all have the same
 * bytes. */
uint64_t layer_set_fill_id(const struct layer_set *set);
