/* The scheduler: what is loaded, what gives way, what is refused.
 *
 * Requests and a `now` go in, decisions come out. No clock, no I/O, no JSON, no event loop; it is
 * single-threaded. It owns the models and the arena's bookkeeping; the loader fills what it
 * reserved and reports back with scheduler_complete or scheduler_abandon.
 *
 * Invariant: the pages of all resident and loading layers never exceed the capacity, and pages of a
 * loading layer belong to nobody else until the loader has reported. */
#pragma once

#include "common/error.h"
#include "daemon/scheduler/model.h"
#include "daemon/scheduler/policy.h"
#include "daemon/scheduler/run.h"

enum {
    SCHEDULER_MODELS_MAX = 1024,
    SCHEDULER_LAYERS_MAX = 1000000, /* of all models */
    SCHEDULER_RUNS_MAX = 1024
};

enum on_full {
    ON_FULL_EVICT, /* evict the victims and go on */
    ON_FULL_ASK    /* change nothing; the caller decides */
};

/* "evict", "ask"; 0 or -EINVAL. */
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

/* What became of a request. */
enum outcome {
    OUTCOME_HIT,      /* the layer is resident */
    OUTCOME_RESERVED, /* the caller fills the pages, then completes or abandons */
    OUTCOME_LOADING,  /* somebody else is filling it: wait for that */
    OUTCOME_REFUSED   /* `decision` says how */
};

/* The answer to a request. victims: those that were evicted (OUTCOME_RESERVED), or that would have
 * to be (DECISION_MUST_UNLOAD, OUTCOME_REFUSED); blockers: the loading layers that stand in the
 * way, beside those that are pinned (DECISION_BUSY). Release with verdict_done; the layers are
 * borrowed until the next call that changes the scheduler. */
struct verdict {
    enum outcome outcome;
    enum decision decision;   /* the first one: must-unload also when victims were then evicted */
    uint64_t requested_bytes; /* the footprint */
    uint64_t available_bytes; /* free, before any eviction */
    uint64_t capacity_bytes;
    bool ahead;   /* OUTCOME_HIT, OUTCOME_LOADING: it was read ahead for a run */
    bool flushed; /* everything that was resident gave way at once */
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
    EVENT_LAYER_EVICTED,   /* gave way to another, or was unloaded */
    EVENT_LAYER_PINNED,    /* held once more: n_pins times */
    EVENT_LAYER_UNPINNED,  /* held once less, or no more */
    EVENT_FLUSHED,         /* every resident layer went at once; no EVENT_LAYER_EVICTED for each */
    EVENT_REFUSED,         /* `decision` tells which */
    EVENT_POLICY_CHANGED
};

/* Valid during the call. A model that is refused, or was removed, is gone afterwards. */
struct scheduler_event {
    enum scheduler_event_type type;
    const struct model *model; /* or NULL */
    const struct layer *layer; /* or NULL */
    enum decision decision;    /* EVENT_REFUSED */
    uint64_t bytes;            /* weights that came, went (flushed: all of them) or were refused */
    uint64_t n_layers;         /* EVENT_FLUSHED: how many went */
    const struct layer *successor; /* EVENT_LAYER_EVICTED, EVENT_FLUSHED: the layer that needs the
                                      place; NULL: a client asked for the eviction */
    const struct policy *policy_before, *policy_after; /* EVENT_POLICY_CHANGED */
};

/* Told of every change after it has been made. May read the scheduler, not change it. */
typedef void (*scheduler_observer)(const struct scheduler_event *event, void *context);

/* Every request is a hit or a miss, whatever came of it; one for a layer that is loading already is
 * a miss without a decision of its own. Reading ahead is a miss, and the use that follows is
 * nothing more. A model that is refused as too large is one decision. */
struct scheduler_stats {
    uint64_t n_models, n_runs, layers_resident, layers_loading, hits, misses;
    uint64_t decisions[DECISION_COUNT]; /* loaded counts a miss when its load is complete */
    uint64_t evictions;                 /* layers that gave way to another */
    uint64_t flushes;                   /* times that everything gave way at once */
    uint64_t loaded_bytes;              /* weights brought in since the start */
};

struct scheduler;

/* Takes the arena, also on failure. 0 or -ENOMEM. */
int scheduler_new(struct arena *arena, const struct policy *policy, struct scheduler **ret);
struct scheduler *scheduler_free(struct scheduler *scheduler); /* loads in flight must be over */
DEFINE_CLEANUP(struct scheduler *, scheduler_free);

/* Takes over, in a new scheduler, what an earlier process has left behind: layers that already hold
 * pages and have their fill_id, least recently used first. Tells nobody. */
void scheduler_adopt(struct scheduler *scheduler, struct layer *const *residents,
                     size_t n_residents, uint64_t last_fill_id, uint64_t loaded_bytes);

/* At most one observer; NULL for none. */
void scheduler_set_observer(struct scheduler *scheduler, scheduler_observer observer,
                            void *context);

/* A dry run's playground: the same models, residents in the same order of use and loads in flight,
 * in an arena of the same size; counters at zero, no observer. Because placement depends on the
 * number of free pages only, it decides exactly as the original would. 0 or -ENOMEM. */
int scheduler_clone(const struct scheduler *scheduler, struct scheduler **ret);

/* The same in two steps, so that most of the work can be a worker's: a snapshot takes 24 bytes for
 * each resident or loading layer, and any thread may make schedulers from it. 0 or -ENOMEM. */
struct scheduler_snapshot;
int scheduler_take_snapshot(const struct scheduler *scheduler, struct scheduler_snapshot **ret);
int scheduler_from_snapshot(const struct scheduler_snapshot *snapshot, struct scheduler **ret);
struct scheduler_snapshot *scheduler_snapshot_free(struct scheduler_snapshot *snapshot);
DEFINE_CLEANUP(struct scheduler_snapshot *, scheduler_snapshot_free);

/* Why a model was refused: the first layer that can never fit, or the limit that was reached. */
struct model_refusal {
    enum error error;  /* ERROR_ALREADY_LOADED, ERROR_OUT_OF_MEMORY, ERROR_LIMIT_EXCEEDED */
    const char *layer; /* OUT_OF_MEMORY; borrowed from the definition */
    uint64_t requested_bytes, available_bytes, capacity_bytes;
    const char *limit; /* LIMIT_EXCEEDED: "models" or "layers" */
    uint64_t maximum;
};

/* Registers a model, nothing loaded; takes a reference of its own. 0; -EPERM with `ret_refusal` set
 * (nothing changed, the refusal is counted); -ENOMEM. ALREADY_LOADED is the last of the refusals:
 * without the known model this one would be registered. */
int scheduler_add_model(struct scheduler *scheduler, struct definition *definition,
                        struct model **ret, struct model_refusal *ret_refusal);

/* Evicts its layers and forgets it. 0, or -EBUSY while a layer of it is loading or pinned, or a run
 * goes through it. */
int scheduler_remove_model(struct scheduler *scheduler, struct model *model);

struct model *scheduler_find_model(const struct scheduler *scheduler, const char *name);
struct model *scheduler_first_model(const struct scheduler *scheduler);

/* How many of its layers are resident, and their weights' bytes (`ret_bytes` may be NULL). O(1). */
uint64_t scheduler_model_resident(const struct scheduler *scheduler, const struct model *model,
                                  uint64_t *ret_bytes);

enum layer_state scheduler_layer_state(const struct scheduler *scheduler,
                                       const struct layer *layer);
/* What it holds in the arena; 0 when absent. */
uint64_t scheduler_layer_pages(const struct scheduler *scheduler, const struct layer *layer);

/* Asks for a layer to be resident. 0 with a verdict, or -ENOMEM (nothing changed). */
int scheduler_request(struct scheduler *scheduler, struct layer *layer, enum on_full on_full,
                      uint64_t now_usec, struct verdict *ret);

/* Whether a request for the layer would be answered otherwise than busy. */
bool scheduler_can_place(const struct scheduler *scheduler, const struct layer *layer);

/* Whether it would fit if everything but `n_pages` others gave way. */
bool scheduler_fits_beside(const struct scheduler *scheduler, const struct layer *layer,
                           uint64_t n_pages);

/* The loader's report on a reserved layer: its bytes are in place, or its pages may be freed. */
void scheduler_complete(struct scheduler *scheduler, struct layer *layer, uint64_t now_usec);
void scheduler_abandon(struct scheduler *scheduler, struct layer *layer);

/* Holds a resident layer: it is neither evicted nor unloaded until every hold is given back. */
void scheduler_pin(struct scheduler *scheduler, struct layer *layer);
void scheduler_unpin(struct scheduler *scheduler, struct layer *layer);
uint64_t scheduler_pinned_pages(const struct scheduler *scheduler);

/* Evicts one resident layer (an absent one is no error). 0, or -EBUSY while it is loading or
 * pinned.
 */
int scheduler_unload_layer(struct scheduler *scheduler, struct layer *layer);

/* Evicts everything in O(1), whatever is resident; counts neither flush nor eviction, because
 * nothing gave way to another. 0, or -EBUSY while anything is loading or pinned. */
int scheduler_reset(struct scheduler *scheduler);

/* Every layer that is loading, in the order in which they started; a new array of borrowed layers,
 * NULL if there is none. 0 or -ENOMEM. */
int scheduler_loading(const struct scheduler *scheduler, struct layer ***ret, size_t *ret_n);

/* Runs, see daemon/scheduler/run.h. -EMFILE at SCHEDULER_RUNS_MAX; -ENOMEM. */
int scheduler_begin_run(struct scheduler *scheduler, struct model *model, struct run **ret);
/* Only before it has come to any layer: the one with that index is its next. */
void scheduler_run_start_at(struct scheduler *scheduler, struct run *run, uint32_t index);
struct run *scheduler_end_run(struct scheduler *scheduler, struct run *run);
void scheduler_end_runs(struct scheduler *scheduler); /* all of them */

/* Sets how the runs of a model go. Nothing is kept and nothing read ahead before. */
void scheduler_set_run_plan(struct scheduler *scheduler, struct model *model,
                            const struct run_plan *plan);

/* The run's next layer is in use now: the one after it becomes its next. And: it is used no more.
 */
void scheduler_run_enter(struct scheduler *scheduler, struct run *run, uint64_t now_usec);
void scheduler_run_leave(struct scheduler *scheduler, struct run *run, uint64_t now_usec);

/* When the run waits for its next layer, and right after scheduler_run_enter, until it names no
 * layer more, and only with the policy next-use: the next layer that the run will miss, if it is
 * time to load it and if only layers that are needed later have to give way. 0 with *ret the layer,
 * whose pages are reserved as by a request, or NULL; -ENOMEM (nothing changed). */
int scheduler_read_ahead(struct scheduler *scheduler, struct run *run, struct layer **ret);

void scheduler_set_policy(struct scheduler *scheduler, const struct policy *policy);
const struct policy *scheduler_policy(const struct scheduler *scheduler);
const struct arena *scheduler_arena(const struct scheduler *scheduler);
void scheduler_get_stats(const struct scheduler *scheduler, struct scheduler_stats *ret);
