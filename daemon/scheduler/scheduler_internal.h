/* The scheduler's private parts. Only the files scheduler_*.c include it. */
#pragma once

#include "daemon/scheduler/scheduler.h"

/* Linked by `older` and `newer`. */
struct layer_list {
    struct layer *oldest, *newest;
};

struct scheduler {
    struct arena *arena;
    const struct policy *policy;
    struct model *models, **models_end; /* in order of registration */
    struct model_list by_change;        /* the model that changed last comes last */
    uint64_t last_change;
    uint64_t n_registrations;    /* so far */
    uint64_t n_layers;           /* of all models */
    struct layer_list evictable; /* resident and not pinned, by last use */
    struct layer_list pinned;
    struct layer_list loading; /* by their start */
    struct run_list runs;      /* those of one model are neighbours */
    struct {
        uint64_t n_layers, pages, bytes;
    } can_give_way;                                         /* sums over `evictable` */
    LIST_HEAD(snapshot_list, scheduler_snapshot) snapshots; /* that are being taken */
    uint64_t pinned_pages;
    uint64_t last_fill_id;
    uint64_t now_usec; /* of the last request */
    uint64_t epoch; /* grows with each flush, which makes all models' counts of residents invalid */
    const struct layer *making_place_for; /* while its victims are evicted, else NULL */
    bool is_trimming;
    struct requester requester;
    struct scheduler_stats stats;
    void (*dispose)(struct model *model, void *context); /* NULL: model_free */
    void *dispose_context;
    scheduler_observer observer;
    void *context;
};

static inline uint64_t scheduler_capacity_bytes(const struct scheduler *scheduler)
{
    return arena_capacity_pages(scheduler->arena) * arena_page_bytes(scheduler->arena);
}

static inline uint64_t scheduler_free_bytes(const struct scheduler *scheduler)
{
    return arena_free_pages(scheduler->arena) * arena_page_bytes(scheduler->arena);
}

/* `n_victims_max` is 0 for no limit. */
struct policy_view scheduler_view(const struct scheduler *scheduler, uint64_t needed_pages,
                                  size_t n_victims_max);

/* Begins a request for the layer, whatever its answer will be. */
void scheduler_begin_request(struct scheduler *scheduler, const struct layer *layer,
                             uint64_t now_usec);

/* Evicts the victims to make room for `layer`. */
void scheduler_evict(struct scheduler *scheduler, const struct layer *layer,
                     const struct victims *victims);

/* Changes a layer's state to `to`, which must be a legal step, and calls the observer. Only the
 * step to LAYER_LOADING can fail: it calls arena_alloc with `n_pages`. The other steps ignore
 * `n_pages`. */
int scheduler_step_layer(struct scheduler *scheduler, struct layer *layer, enum layer_state to,
                         uint64_t n_pages);

/* Asks the policy which layers give way. If it is one that evicts everything, all of them count.
 * Returns as the policy. */
int scheduler_choose_victims(const struct scheduler *scheduler, const struct policy_view *view,
                             struct victims *ret);

/* Evicts the verdict's victims and reserves the layer's pages. arena_prepare must have
 * succeeded. */
void scheduler_reserve(struct scheduler *scheduler, struct layer *layer, uint64_t n_pages,
                       struct verdict *verdict);

/* Counts a refusal and calls the observer. */
void scheduler_refuse(struct scheduler *scheduler, const struct layer *layer,
                      enum decision decision);

void scheduler_link_model(struct scheduler *scheduler, struct model *model);

/* The model's usage, its runs, or which of its layers are resident have changed. */
void scheduler_touch_model(struct scheduler *scheduler, struct model *model);

/* Begins to count again what is resident, if a flush has made the counts invalid. */
void scheduler_renew_counts(const struct scheduler *scheduler, struct model *model);

/* For the snapshots that are being taken: the layer has changed; it is about to leave the list of
 * pinned or of evictable layers; all evictable layers have been evicted in one step; the model is
 * new. */
void scheduler_note_layer(const struct scheduler *scheduler, const struct layer *layer);
void scheduler_note_unlisted(const struct scheduler *scheduler, const struct layer *layer);
void scheduler_note_flush(const struct scheduler *scheduler);
void scheduler_note_model(const struct scheduler *scheduler, const struct model *model);

/* Calls the observer. Adds to the event for whom and by which policy it happens. */
void scheduler_tell(const struct scheduler *scheduler, struct scheduler_event event);

void layer_list_append(struct layer_list *list, struct layer *layer);

void layer_list_remove(struct layer_list *list, struct layer *layer);

/* Copies the layers of a list into a new array, NULL if the list is empty. Returns 0 or -ENOMEM. */
int layer_list_copy(const struct layer_list *list, size_t n_layers, struct layer ***ret);

void scheduler_tell_of_layer(const struct scheduler *scheduler, int type,
                             const struct layer *layer);

void scheduler_list_evictable(struct scheduler *scheduler, struct layer *layer, int sign);

/* Whether no layer holds pages that may not be evicted. */
static inline bool scheduler_holds_only_evictable(const struct scheduler *scheduler)
{
    return scheduler->stats.layers_loading == 0 && scheduler->pinned_pages == 0;
}

/* Evicts all evictable layers in one step. It resets the arena if no other layer holds pages. */
void scheduler_flush(struct scheduler *scheduler);
