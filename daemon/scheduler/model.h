/* Models and their layers, as the scheduler keeps them. A model holds its layers by value, so that
 * ten thousand layers stay cheap. Only the scheduler writes them. */
#pragma once

#include "common/definition/definition.h"
#include "common/residency/layer_uses.h"
#include "daemon/arena/arena.h"

#include <stdatomic.h>
#include <sys/queue.h>

enum layer_state {
    LAYER_ABSENT,
    LAYER_LOADING, /* its pages are reserved for it until the loader has finished with them */
    LAYER_RESIDENT
};
const char *layer_state_name(enum layer_state state); /* "absent", "loading", "resident" */

enum { MODEL_SCHEDULE_LAYERS_MAX = 7, MODEL_SCHEDULE_STEPS_MAX = 3 * MODEL_SCHEDULE_LAYERS_MAX };

struct model;
struct fill;

/* A model's share of the scheduler's counters of the same names, see struct scheduler_stats. */
struct model_stats {
    uint64_t hits, misses, evictions, loads, reloads, loaded_bytes;
};

struct layer {
    struct model *model;
    struct allocation allocation; /* if it is of an older generation, the layer is absent */
    uint64_t used_usec;           /* last hit or load */
    uint64_t fill_id;             /* the number of the load that read its bytes; never used twice */
    struct layer *older, *newer;  /* resident layers by last use, or loading layers by their start;
                                     not valid when absent */
    struct fill *fill;            /* the loader's work on it, or NULL; only the loader sets it */
    uint32_t index;               /* in the model, in execution order */
    uint32_t n_mapped_pins; /* those of n_pins whose leases are mapped; see scheduler_pin_lease */
    uint32_t n_pins : 27;   /* while there are pins, the layer stays resident */
    uint32_t ahead : 1;     /* it was read ahead, and not used since */
    uint32_t given_up : 1;  /* its fill was abandoned, and still runs; the loader sets it */
    uint32_t counted : 1;   /* already counted in the current walk over leases; 0 between walks */
    enum layer_state state : 2; /* may be outdated: use scheduler_layer_state */
    uint8_t told_percent;       /* 1 + what a view told last of layer_uses_percent; 0: nothing */
};

/* Loads of a model's layers that failed since one succeeded; only load_failures.c sets it. */
struct model_failures {
    uint64_t n, told_usec;
    int error; /* the last that was told */
};

/* What of a model is in use, beside struct model_stats. */
struct model_usage {
    uint64_t n_passes;                    /* of all its runs, since it was registered */
    uint64_t used_usec;                   /* last hit or load; 0: none */
    uint64_t n_pins;                      /* of all its layers */
    uint64_t pinned_bytes, loading_bytes; /* weights of the layers that are pinned or loading */
};

/* Which layers the plan of a model's runs keeps; the others are streamed. It does not change while
 * others refer to it. Any thread may take and release references. */
struct kept_layers {
    atomic_uint n_refs;
    bool keep[];
};

/* With one reference, for the caller to fill in. NULL when out of memory. */
struct kept_layers *kept_layers_new(uint32_t n_layers);
struct kept_layers *kept_layers_ref(struct kept_layers *kept);   /* NULL stays NULL */
struct kept_layers *kept_layers_unref(struct kept_layers *kept); /* returns NULL */

struct model {
    TAILQ_ENTRY(model) by_change;
    uint64_t changed; /* the number of its last change, see scheduler_next_changed */
    struct model_usage usage;
    struct model_failures failures;
    struct definition *definition; /* a reference */
    struct layer *layers;          /* definition->n_layers of them */
    struct layer_uses *uses;
    struct model *next;     /* in order of registration */
    uint64_t largest_bytes; /* of a layer, with its shift; UINT64_MAX if 64 bits do not suffice */
    uint64_t registration;  /* its number, which no other model of this process has */
    uint64_t n_loading, n_pinned;
    uint32_t n_runs, n_holds;
    uint32_t n_views;           /* of clients; only lease.c sets it */
    uint64_t *begins_bytes;     /* bytes of the layers before each layer */
    struct kept_layers *kept;   /* a reference; NULL: its runs have no plan */
    uint32_t look_ahead, depth; /* of their plan */
    uint32_t period;            /* passes of that plan's schedule; 0: it has none */
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    uint64_t compute_usec;  /* recent mean for a whole pass of a run; 0: unknown */
    uint64_t planned_pages; /* the share that the plan was made for, see planner_task.c */
    double planned_compute_per_page;
    /* Valid for `epoch` only: use scheduler_model_resident. `streamed_bytes` are of layers that the
     * plan of its runs does not keep, among the first n_counted layers. */
    uint64_t n_resident, resident_bytes, streamed_bytes;
    uint32_t n_counted;
    struct model_stats stats; /* use scheduler_model_stats */
    uint64_t epoch;
};
TAILQ_HEAD(model_list, model);

static inline const struct layer_definition *layer_definition(const struct layer *layer)
{
    return &layer->model->definition->layers[layer->index];
}

/* Whether the plan of its model's runs keeps it, and streams other layers. */
static inline bool layer_is_kept(const struct layer *layer)
{
    return layer->model->kept && layer->model->kept->keep[layer->index];
}

/* The most memory that a model takes beside its definition. */
static inline uint64_t model_bytes(uint64_t n_layers)
{
    enum { BYTES_PER_LAYER = 280 };
    return sizeof(struct model) + n_layers * BYTES_PER_LAYER;
}

/* Makes a model whose layers are all absent. Adds its own reference to the definition. NULL when
 * out of memory. Any thread: it takes milliseconds for 100,000 layers. */
struct model *model_new(struct definition *definition);

/* Also releases the layers' pages. If they have none, `arena` may be NULL, and any thread may call
 * this. */
struct model *model_free(struct model *model, struct arena *arena);

/* Returns a borrowed layer; NULL if the model has no layer of that name. */
struct layer *model_find_layer(struct model *model, const char *name);
