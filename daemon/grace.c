/* Invariant: each layer that waits is there once, and pinned once for that. */
#include "daemon/grace.h"

#include "common/cleanup.h"

void grace_begin(struct grace *grace, struct scheduler *scheduler, struct layer **layers,
                 size_t n_layers)
{
    *grace = (struct grace){scheduler, layers, n_layers};
    for (size_t i = 0; i < n_layers; i++)
        scheduler_pin(scheduler, layers[i]);
}

void grace_take_up(struct grace *grace, const struct layer *layer)
{
    for (size_t i = 0; i < grace->n_layers; i++) {
        if (grace->layers[i] != layer)
            continue;
        scheduler_unpin(grace->scheduler, grace->layers[i]);
        grace->layers[i] = grace->layers[--grace->n_layers];
        return;
    }
}

void grace_end(struct grace *grace)
{
    _cleanup_(freep) struct layer **layers = TAKE_PTR(grace->layers);
    size_t n_layers = grace->n_layers;

    grace->n_layers = 0; /* first: who waited for one of them may look */
    for (size_t i = 0; i < n_layers; i++)
        scheduler_unpin(grace->scheduler, layers[i]);
}
