/* The scheduler decides which layers are loaded, which give way, and which requests are refused.
 *
 * Requests and a `now` go in, decisions come out. It has no clock, no I/O, no JSON and no event
 * loop, and is single-threaded. It owns the models and the arena's bookkeeping. The loader fills
 * the pages that the scheduler has reserved, and reports back with scheduler_complete or
 * scheduler_abandon.
 *
 * Invariant: the pages of all resident and loading layers never exceed the capacity, and no other
 * layer gets the pages of a loading layer before the loader has reported. */
#pragma once

#include "common/error.h"
#include "daemon/scheduler/model.h"
#include "daemon/scheduler/policy.h"
#include "daemon/scheduler/requester.h"
#include "daemon/scheduler/run.h"

enum {
    SCHEDULER_MODELS_MAX = 1024,
    SCHEDULER_LAYERS_MAX = 1000000, /* of all models */
    SCHEDULER_RUNS_MAX = 1024,
    SCHEDULER_FORETOLD_MAX = POLICY_LOOKS_MAX, /* more layers would cost more looks */
    SCHEDULER_PORTION = 64                     /* layers that are evicted one by one in one go */
};

enum on_full {
    ON_FULL_EVICT, /* evict the victims and load the layer */
    ON_FULL_ASK    /* change nothing; the caller decides */
};

/* Parses "evict" or "ask". Returns 0 or -EINVAL. */
int on_full_parse(const char *text, enum on_full *ret);
const char *on_full_name(enum on_full on_full);

enum decision {
    DECISION_LOADED,
    DECISION_MUST_UNLOAD,
    DECISION_OUT_OF_MEMORY,
    DECISION_BUSY,
    DECISION_COUNT
};
const char *decision_name(enum decision decision); /* "loaded", "must-unload", ... */

/* The result of a request. */
enum outcome {
    OUTCOME_HIT,      /* the layer is resident */
    OUTCOME_RESERVED, /* the caller must fill the pages, then complete or abandon the load */
    OUTCOME_LOADING,  /* an earlier request's load fills it: wait for that */
    OUTCOME_REFUSED   /* `decision` says why */
};

/* The answer to a request. `victims` are the layers that were evicted (OUTCOME_RESERVED), or that
 * would have to be (DECISION_MUST_UNLOAD, OUTCOME_REFUSED; not more than SCHEDULER_FORETOLD_MAX
 * are counted, except under flush-all). `blockers` are the loading layers that
 * block the request, in addition to the pinned ones (DECISION_BUSY). Release it with verdict_done.
 * The layers are borrowed until the next call that changes the scheduler. */
struct verdict {
    enum outcome outcome;
    enum decision decision;   /* the first one: must-unload even if the victims were then evicted */
    uint64_t requested_bytes; /* the footprint */
    uint64_t available_bytes; /* free before any eviction */
    uint64_t capacity_bytes;
    bool ahead;   /* OUTCOME_HIT, OUTCOME_LOADING: the layer was read ahead */
    bool flushed; /* all evictable layers gave way in one step */
    struct victims victims;
    struct layer **blockers; /* owned */
    size_t n_blockers;
};
void verdict_done(struct verdict *verdict);

enum scheduler_event_type {
    EVENT_MODEL_ADDED,
    EVENT_MODEL_REMOVED,
    EVENT_LAYER_LOADING,
    EVENT_LAYER_LOADED,
    EVENT_LAYER_ABANDONED, /* a load was cancelled or failed */
    EVENT_LAYER_EVICTED,   /* made room for another layer, or was unloaded */
    EVENT_LAYER_PINNED,    /* has one pin more: n_pins */
    EVENT_LAYER_UNPINNED,  /* has one pin less, or none any more */
    EVENT_FLUSHED, /* all evictable layers were evicted in one step, without EVENT_LAYER_EVICTED */
    EVENT_REFUSED, /* `decision` says why */
    EVENT_POLICY_CHANGED
};

/* Valid during the call only. A model that was refused or removed no longer exists afterwards. */
struct scheduler_event {
    enum scheduler_event_type type;
    const struct model *model; /* or NULL */
    const struct layer *layer; /* or NULL */
    enum decision decision;    /* EVENT_REFUSED */
    uint64_t bytes;    /* weights that were loaded, evicted (flushed: all of them) or refused */
    uint64_t n_layers; /* EVENT_FLUSHED: how many were evicted */
    const struct layer *successor; /* EVENT_LAYER_EVICTED, EVENT_FLUSHED: the layer that needs the
                                      room; NULL: a client asked for the eviction */
    const struct policy *policy;   /* with `successor`: the policy that chose the layer */
    struct requester requester;    /* its method is NULL if no client asked */
    bool trimmed; /* EVENT_LAYER_EVICTED: it was evicted because the system is short of memory */
    const struct policy *policy_before, *policy_after; /* EVENT_POLICY_CHANGED */
};

/* Called after every change. It may read the scheduler, but not change it. */
typedef void (*scheduler_observer)(const struct scheduler_event *event, void *context);

/* Every request counts as a hit or a miss, whatever its result. A request for a layer that is
 * already loading is a miss without a decision. A layer that is read ahead counts as a miss then,
 * and its first use does not count again. A model that is refused as too large counts as one
 * decision. */
struct scheduler_stats {
    uint64_t n_models, n_runs, layers_resident, layers_loading, hits, misses;
    uint64_t resident_bytes;            /* weights of the resident layers */
    uint64_t decisions[DECISION_COUNT]; /* `loaded` counts a miss when its load is complete */
    uint64_t evictions;                 /* layers that made room for another one */
    uint64_t loads;                     /* loads that are complete */
    uint64_t reloads;                   /* those of layers that had been loaded before */
    uint64_t trimmed;                   /* layers that were evicted by scheduler_trim_portion */
    uint64_t flushes;                   /* times that all evictable layers gave way in one step */
    uint64_t loaded_bytes;              /* weights loaded since the start */
};

struct scheduler;

/* Takes the arena, also on failure. Returns 0 or -ENOMEM. */
int scheduler_new(struct arena *arena, const struct policy *policy, struct scheduler **ret);
struct scheduler *scheduler_free(struct scheduler *scheduler); /* no load may be in flight */
DEFINE_CLEANUP(struct scheduler *, scheduler_free);

/* Takes over, in a new scheduler, the resident layers of an earlier process. They already hold
 * pages and have their fill_id, and are in the order of their last use, oldest first. The observer
 * is not called. The policy expected-use learns anew how the layers are used. */
void scheduler_adopt(struct scheduler *scheduler, struct layer *const *residents,
                     size_t n_residents, uint64_t last_fill_id, uint64_t loaded_bytes);

/* There is at most one observer; NULL: none. */
void scheduler_set_observer(struct scheduler *scheduler, scheduler_observer observer,
                            void *context);

/* Sets on whose behalf the next calls are made, which the events then tell. NULL: nobody's. */
void scheduler_set_requester(struct scheduler *scheduler, const struct requester *requester);

/* Makes a copy for a dry run: the same models, resident layers in the same order of use, and loads
 * in flight, in an arena of the same size. Its counters are zero and it has no observer. It decides
 * exactly as the original would, because placement depends only on the number of free pages. Only
 * if the policy was not expected-use, or if there are more than 100,000 layers, the copy does not
 * know how they were used, and expected-use decides in it as for models that are new.
 * Returns 0 or -ENOMEM. */
int scheduler_clone(struct scheduler *scheduler, struct scheduler **ret);

/* The same in steps, so that a worker can do most of the work, and the rest is done in portions. A
 * snapshot takes 24 bytes for each resident or loading layer and each change meanwhile. Once it is
 * complete, any thread may make schedulers from it, and free it; before, only the scheduler's.
 * scheduler_go_on_with_snapshot copies up to `n_layers` layers. It returns 1 if more must follow; 0
 * when the snapshot is complete, and shows the scheduler as it is at that moment; or -ENOMEM.
 * The other functions return 0 or -ENOMEM. */
enum { SCHEDULER_SNAPSHOT_PORTION = 4096 };
struct scheduler_snapshot;
int scheduler_begin_snapshot(struct scheduler *scheduler, struct scheduler_snapshot **ret);
int scheduler_go_on_with_snapshot(struct scheduler_snapshot *snapshot, unsigned n_layers);
int scheduler_take_snapshot(struct scheduler *scheduler, struct scheduler_snapshot **ret);
int scheduler_from_snapshot(const struct scheduler_snapshot *snapshot, struct scheduler **ret);
/* Gives it up, unless it is complete. Any thread may free it then. */
void scheduler_stop_snapshot(struct scheduler_snapshot *snapshot);
struct scheduler_snapshot *scheduler_snapshot_free(struct scheduler_snapshot *snapshot);
DEFINE_CLEANUP(struct scheduler_snapshot *, scheduler_snapshot_free);
/* The most memory that a snapshot, and a scheduler that is built from it, would take now, with one
 * model more unless `added` is NULL. */
uint64_t scheduler_dry_run_bytes(const struct scheduler *scheduler, const struct definition *added);
/* How many layers were copied so far. */
size_t scheduler_snapshot_copies(const struct scheduler_snapshot *snapshot);

/* The reason why a model was refused: the first layer that can never fit, or the limit that was
 * reached. */
struct model_refusal {
    enum error error;  /* ERROR_ALREADY_LOADED, ERROR_OUT_OF_MEMORY, ERROR_LIMIT_EXCEEDED */
    const char *layer; /* OUT_OF_MEMORY; borrowed from the definition */
    uint64_t requested_bytes, available_bytes, capacity_bytes;
    const char *limit; /* LIMIT_EXCEEDED: "models" or "layers" */
    uint64_t maximum;
};

/* Registers a model with no layer loaded, and adds its own reference to the definition. Returns 0;
 * -EPERM with `ret_refusal` set (nothing changes, except that the refusal is counted); -ENOMEM.
 * ALREADY_LOADED is checked last: without the present model this one would be registered. */
int scheduler_add_model(struct scheduler *scheduler, struct definition *definition,
                        struct model **ret, struct model_refusal *ret_refusal);

/* Removes `known`, which has the name of the definition, and registers the definition. Errors as of
 * scheduler_add_model (but for ALREADY_LOADED) and scheduler_remove_model; then nothing changes. */
int scheduler_replace_model(struct scheduler *scheduler, struct model *known,
                            struct definition *definition, struct model **ret,
                            struct model_refusal *ret_refusal);

/* Evicts the model's layers and removes it. Returns 0, or -EBUSY while a layer of it is loading or
 * pinned, a run goes through it, or it is held. */
int scheduler_remove_model(struct scheduler *scheduler, struct model *model);
/* Evicts up to SCHEDULER_PORTION of the model's layers, from layer *at on, which begins at 0.
 * Returns 1 if more must follow; 0 if none is resident any more; or -EBUSY as
 * scheduler_remove_model does, but whether the model is held does not matter. */
int scheduler_unload_portion(struct scheduler *scheduler, struct model *model, uint32_t *at);

/* The steps of scheduler_add_model and scheduler_replace_model, for a model that was made on
 * another thread. scheduler_check_model returns 0, or -EPERM with a refusal as scheduler_add_model
 * does; `replaced` will have been removed, or is NULL. After it has succeeded, and `replaced` was
 * removed, scheduler_register_model takes the model. */
int scheduler_check_model(struct scheduler *scheduler, const struct model *model,
                          const struct model *replaced, struct model_refusal *ret_refusal);
void scheduler_register_model(struct scheduler *scheduler, struct model *model);

/* Has models that were removed freed by `dispose`, with model_free and without an arena, on any
 * thread; NULL: at once. */
void scheduler_on_dispose(struct scheduler *scheduler,
                          void (*dispose)(struct model *model, void *context), void *context);

struct model *scheduler_find_model(const struct scheduler *scheduler, const char *name);
struct model *scheduler_first_model(const struct scheduler *scheduler);

/* Returns how many of the model's layers are resident, and their weights' bytes (`ret_bytes` may be
 * NULL). O(1). */
uint64_t scheduler_model_resident(const struct scheduler *scheduler, const struct model *model,
                                  uint64_t *ret_bytes);

/* Since its registration. O(1). */
struct model_stats scheduler_model_stats(const struct scheduler *scheduler,
                                         const struct model *model);

/* Returns the bytes of the model's resident layers that its runs stream through the arena; 0 while
 * it has no run. O(1). */
uint64_t scheduler_model_streamed(const struct scheduler *scheduler, const struct model *model);

/* Changes of models are numbered from 1. Finds the model with the earliest last change after number
 * `since`; or NULL. The next ones follow it in `by_change`. */
const struct model *scheduler_next_changed(const struct scheduler *scheduler, uint64_t since);

enum layer_state scheduler_layer_state(const struct scheduler *scheduler,
                                       const struct layer *layer);
/* The pages that the layer holds in the arena; 0 when absent. */
uint64_t scheduler_layer_pages(const struct scheduler *scheduler, const struct layer *layer);
/* The pages that the layer needs, and in bytes for errors; `ret_bytes` may be NULL. Both saturate
 * if 64 bits do not suffice. */
uint64_t scheduler_footprint(const struct scheduler *scheduler, const struct layer *layer,
                             uint64_t *ret_bytes);

/* Requests that a layer becomes resident. Returns 0 with a verdict, or -ENOMEM (nothing
 * changed). */
int scheduler_request(struct scheduler *scheduler, struct layer *layer, enum on_full on_full,
                      uint64_t now_usec, struct verdict *ret);

/* What has been evicted for the next layer. Zero-initialise it for each. */
struct room {
    uint64_t n_layers, pages;
    bool flushed;
};

/* The same as scheduler_request, but if it would evict more than SCHEDULER_PORTION layers one by
 * one, it evicts only so many, and returns 1 without a verdict. The caller then does something else
 * for a while, and repeats the request with the same room, until the result is 0 or -ENOMEM. The
 * layers of all portions count in the verdict, but only the last ones are listed. */
int scheduler_request_in_portions(struct scheduler *scheduler, struct layer *layer,
                                  enum on_full on_full, uint64_t now_usec, struct room *room,
                                  struct verdict *ret);
/* All portions at once, for dry runs: so they decide as the daemon does. */
int scheduler_request_whole(struct scheduler *scheduler, struct layer *layer, enum on_full on_full,
                            uint64_t now_usec, struct verdict *ret);

/* While a model is held, it is not removed. Its holder makes room for one of its layers. */
void scheduler_hold_model(struct model *model);
void scheduler_let_go_of_model(struct model *model);

/* Whether a request for the layer would get another answer than busy. */
bool scheduler_can_place(const struct scheduler *scheduler, const struct layer *layer);

/* The pages that are free or may be taken from evictable layers. */
uint64_t scheduler_placeable_pages(const struct scheduler *scheduler);

/* The loader's reports on a reserved layer: its bytes are in place; or its load has ended, and its
 * pages may be freed. */
void scheduler_complete(struct scheduler *scheduler, struct layer *layer, uint64_t now_usec);
void scheduler_abandon(struct scheduler *scheduler, struct layer *layer);

/* Pins a resident layer: it is neither evicted nor unloaded until every pin is removed. */
void scheduler_pin(struct scheduler *scheduler, struct layer *layer);
void scheduler_unpin(struct scheduler *scheduler, struct layer *layer);
/* The same for a lease. `is_mapped`: the kernel knows whether its client has the arena mapped; see
 * common/arena_locks.h. */
void scheduler_pin_lease(struct scheduler *scheduler, struct layer *layer, bool is_mapped);
void scheduler_unpin_lease(struct scheduler *scheduler, struct layer *layer, bool is_mapped);
uint64_t scheduler_pinned_pages(const struct scheduler *scheduler);
/* The layer that is pinned longest, linked to the others by `newer`; NULL if none is pinned. */
const struct layer *scheduler_oldest_pinned(const struct scheduler *scheduler);

/* Evicts one resident layer (an absent one is no error). Returns 0, or -EBUSY while it is loading
 * or pinned. */
int scheduler_unload_layer(struct scheduler *scheduler, struct layer *layer);

/* Evicts up to SCHEDULER_PORTION layers that nobody uses: that are not pinned, were last used
 * before `before_usec`, and are of a model that has no run, no load in flight and no holder. `walk`
 * says where it goes on; it begins zeroed. Returns whether more may follow. Counts no eviction,
 * because no layer makes room for another one. */
struct trim_walk {
    uint64_t registration; /* of the model */
    uint32_t layer;
};
bool scheduler_trim_portion(struct scheduler *scheduler, struct trim_walk *walk,
                            uint64_t before_usec);

/* Evicts all layers at once, however many are resident, in time linear in the number of models.
 * Counts neither a flush nor evictions, because no layer made room for another one. Returns 0, or
 * -EBUSY while any layer is loading or pinned. */
int scheduler_reset(struct scheduler *scheduler);

/* Lists the loading layers in the order in which their loads started: a new array of borrowed
 * layers, NULL if there is none. Returns 0 or -ENOMEM. */
int scheduler_loading(const struct scheduler *scheduler, struct layer ***ret, size_t *ret_n);

/* Begins a run, see daemon/scheduler/run.h. Returns 0; -EMFILE at SCHEDULER_RUNS_MAX; -ENOMEM. */
int scheduler_begin_run(struct scheduler *scheduler, struct model *model, struct run **ret);
/* Makes the layer with that index the run's next one. Call it only before the run has entered any
 * layer. */
void scheduler_run_start_at(struct scheduler *scheduler, struct run *run, uint32_t index);
struct run *scheduler_end_run(struct scheduler *scheduler, struct run *run);
void scheduler_end_runs(struct scheduler *scheduler); /* all of them */

/* Sets the plan of a model's runs, which keep the layers of `kept` (plan->keep does not matter),
 * and adds its own reference to it. Without a plan they keep no layer and read none ahead. Visits a
 * bounded number of layers. */
void scheduler_set_run_plan(struct scheduler *scheduler, struct model *model,
                            const struct run_plan *plan, struct kept_layers *kept);

/* scheduler_run_enter: the run now uses its next layer, and the layer after it becomes its next
 * one. scheduler_run_leave: the run no longer uses the layer that it entered. */
void scheduler_run_enter(struct scheduler *scheduler, struct run *run, uint64_t now_usec);
void scheduler_run_leave(struct scheduler *scheduler, struct run *run, uint64_t now_usec);

/* Finds the next missing layer of the run, if it is time to load it, and if only layers that are
 * needed later must give way. Reserves its pages like a request. Call it when the run waits for its
 * next layer, and right after scheduler_run_enter, again and again until it finds none. Finds none
 * unless the policy is next-use. Returns 0 with the layer or NULL in *ret; or -ENOMEM (nothing
 * changed). */
int scheduler_read_ahead(struct scheduler *scheduler, struct run *run, struct layer **ret);

/* Reserves the pages of one absent layer that somebody expects to request soon, if at most
 * SCHEDULER_PORTION others must give way for it, or all under flush-all. This is no use of the
 * layer. Returns 1 if it has done so, 0 if not, or -ENOMEM (nothing changed). */
int scheduler_read_layer_ahead(struct scheduler *scheduler, struct layer *layer);

void scheduler_set_policy(struct scheduler *scheduler, const struct policy *policy);
const struct policy *scheduler_policy(const struct scheduler *scheduler);
const struct arena *scheduler_arena(const struct scheduler *scheduler);
void scheduler_get_stats(const struct scheduler *scheduler, struct scheduler_stats *ret);
