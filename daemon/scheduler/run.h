/* A run: a client's declaration that it will use a model's layers in order, again and again. Only
 * the scheduler writes it. All runs of a model go by one plan. */
#pragma once

#include "daemon/scheduler/model.h"

#include <sys/queue.h>

enum { RUN_DEPTH_MAX = 6 };

struct run_plan {
    const bool *keep;    /* one a layer: is not streamed */
    uint32_t look_ahead; /* layers before its use that a layer is read, at most; 0: not ahead */
    uint32_t depth;      /* how many may have been read ahead and not yet used; to RUN_DEPTH_MAX */
    /* `period` passes that take turns, for each its layers, for each of them the set (the first
     * layer is the lowest bit) of those that are to be there while a run is at it: only these are
     * read ahead, and the others give way first. NULL: none. */
    const uint8_t *schedule;
    uint32_t period;
};

struct run {
    TAILQ_ENTRY(run) entry;
    struct model *model;
    struct layer *next;                 /* the layer that the run uses next */
    struct layer *ahead[RUN_DEPTH_MAX]; /* what was read ahead for it last, or NULL */
    uint64_t n_passes;                  /* times that it has come to the model's end */
    uint64_t entered_usec;              /* when it came to its last layer; 0: it has left it */
    uint64_t compute_usec;              /* in this pass so far, with layers that it has left */
    bool is_partial;                    /* this pass did not begin with the first layer */
};
TAILQ_HEAD(run_list, run);

/* Whether its client has asked for its next layer and waits for it to be loaded: the run then
 * counts as being at that layer. */
static inline bool run_is_waiting(const struct run *run)
{
    return run->next->state == LAYER_LOADING && !run->next->ahead;
}

/* The set of layers that are to be there by the schedule of its model, which has one: 0 steps on,
 * where the run is, and so on. */
static inline uint8_t run_wants(const struct run *run, uint32_t n_steps_on)
{
    uint32_t n_layers = run->model->definition->n_layers;
    uint32_t n_steps = run->model->period * n_layers;
    uint64_t step = run->n_passes % run->model->period * n_layers + run->next->index;
    return run->model->schedule[(step + n_steps - 1 + n_steps_on + run_is_waiting(run)) % n_steps];
}

/* Whether its next layer is being loaded, or one is read ahead for it. */
static inline bool run_is_loading(const struct run *run)
{
    if (run->next->fill)
        return true;
    for (unsigned i = 0; i < RUN_DEPTH_MAX; i++)
        if (run->ahead[i] && run->ahead[i]->ahead && run->ahead[i]->fill)
            return true;
    return false;
}
