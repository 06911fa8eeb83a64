/* A run: a client's declaration that it will use a model's layers in order, again and again. Only
 * the scheduler writes it. All runs of a model go by one plan. */
#pragma once

#include "daemon/model.h"

#include <sys/queue.h>

enum { RUN_DEPTH_MAX = 3 };

struct run_plan {
    const bool *keep;    /* one a layer: is not streamed */
    uint32_t look_ahead; /* layers before its use that a layer is read, at most; 0: not ahead */
    uint32_t depth;      /* how many may have been read ahead and not yet used; to RUN_DEPTH_MAX */
    const bool *on_demand; /* one a layer: is never read ahead, and gives way first; NULL: none */
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
