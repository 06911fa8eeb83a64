/* What a snapshot consists of. Only scheduler_snapshot.c, which takes it, and
 * scheduler_from_snapshot.c, which builds a scheduler from it, include this. */
#pragma once

#include "daemon/scheduler/scheduler.h"

struct model_copy {
    struct definition *definition; /* a reference */
    struct kept_layers *kept;      /* a reference; NULL: the model has no plan */
    struct layer_uses *uses;       /* NULL: they were not copied */
    uint32_t look_ahead, depth, period;
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    uint64_t compute_usec, planned_pages;
    double planned_compute_per_page;
};

enum { SNAPSHOT_NONE = UINT16_MAX, SNAPSHOT_SEEN_MAX = UINT16_MAX };

struct layer_copy {
    uint64_t n_pages; /* 0: it is absent */
    uint64_t used_usec;
    uint32_t index;
    uint16_t model; /* index in the snapshot's `seen` */
    bool ahead : 1, is_pinned : 1, is_loading : 1;
};
_Static_assert(sizeof(struct layer_copy) == 24, "as scheduler.h says");

enum { NO_LAYER = UINT32_MAX };

struct run_copy {
    uint16_t model;                      /* index in the snapshot's `models` */
    uint32_t next, ahead[RUN_DEPTH_MAX]; /* NO_LAYER: none */
    uint64_t n_passes;
};

/* A model that was registered when the snapshot began, or since. */
struct seen_model {
    uint64_t registration;
    uint16_t place; /* its index in `models`; SNAPSHOT_NONE: it was removed meanwhile */
};

/* A layer may have several copies: the last one counts. */
struct scheduler_snapshot {
    uint64_t capacity_bytes, page_bytes, now_usec;
    const struct policy *policy;
    struct seen_model *seen;   /* by registration */
    struct model_copy *models; /* in order of registration */
    struct layer_copy *layers;
    struct run_copy *runs;
    size_t n_seen, n_models, n_layers, n_runs;
    size_t n_flushed; /* so many copies were made before the last flush */

    /* While it is being taken. */
    LIST_ENTRY(scheduler_snapshot) entry;
    struct scheduler *scheduler; /* NULL: it is complete, or was given up */
    const struct layer *next;    /* the next layer of the list to copy; NULL: at the list's end */
    bool is_in_evictable;        /* that list; else the pinned layers */
    bool has_failed;             /* there was no memory for a copy */
    size_t n_allocated, n_seen_allocated;
};
