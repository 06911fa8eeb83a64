/* A run: a client's declaration that it will use a model's layers in order, again and again. Only
 * the scheduler writes it. All runs of a model follow the same plan. */
#pragma once

#include "daemon/scheduler/model.h"

#include <sys/queue.h>

enum { RUN_DEPTH_MAX = 6 };

struct run_plan {
    const bool *keep;    /* for each layer: it is kept, not streamed */
    uint32_t look_ahead; /* a layer is read at most so many layers before its use; 0: not ahead */
    uint32_t depth;      /* the most layers read ahead and not yet used; up to RUN_DEPTH_MAX */
    /* A schedule has `period` passes that repeat. For each layer of each pass it has the set of
     * layers (the first layer is the lowest bit) that should be resident while a run is at that
     * layer. Only these are read ahead, and the others give way first. NULL: no schedule. */
    const uint8_t *schedule;
    uint32_t period;
};

struct run {
    TAILQ_ENTRY(run) entry;
    struct model *model;
    struct layer *next;                 /* the layer that the run uses next */
    struct layer *ahead[RUN_DEPTH_MAX]; /* the last layers read ahead for it, or NULL */
    uint64_t n_passes;                  /* how often it has reached the model's end */
    uint64_t entered_usec;              /* when it entered its present layer; 0: it has left it */
    uint64_t compute_usec;              /* for the layers of this pass that it has left */
    bool is_partial;                    /* this pass did not begin with the first layer */
};
TAILQ_HEAD(run_list, run);

/* Whether the client has requested the run's next layer, and waits for its load. The run then
 * counts as being at that layer. */
static inline bool run_is_waiting(const struct run *run)
{
    return run->next->state == LAYER_LOADING && !run->next->ahead;
}

/* The set of layers that the model's schedule wants, `n_steps_on` steps after the run's present
 * layer. The model must have a schedule. */
static inline uint8_t run_wants(const struct run *run, uint32_t n_steps_on)
{
    uint32_t n_layers = run->model->definition->n_layers;
    uint32_t n_steps = run->model->period * n_layers;
    uint64_t step = run->n_passes % run->model->period * n_layers + run->next->index;
    return run->model->schedule[(step + n_steps - 1 + n_steps_on + run_is_waiting(run)) % n_steps];
}

/* Whether the run's next layer is being loaded, or any layer is being read ahead for it. */
static inline bool run_is_loading(const struct run *run)
{
    if (run->next->fill)
        return true;
    for (unsigned i = 0; i < RUN_DEPTH_MAX; i++)
        if (run->ahead[i] && run->ahead[i]->ahead && run->ahead[i]->fill)
            return true;
    return false;
}
