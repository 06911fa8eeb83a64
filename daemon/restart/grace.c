/* Invariant: the array holds each waiting layer once, and the layer has one pin for each of its
 * waiting leases. So a layer's pins are the leases that the next process has to wait for. */
#include "daemon/restart/grace.h"

#include "common/cleanup.h"

void grace_begin(struct grace *grace, struct scheduler *scheduler, struct grace_layer *layers,
                 size_t n_layers)
{
    *grace = (struct grace){scheduler, layers, n_layers};
    for (size_t i = 0; i < n_layers; i++)
        for (uint32_t n = layers[i].n_leases; n > 0; n--)
            scheduler_pin(scheduler, layers[i].layer);
}

void grace_take_up(struct grace *grace, const struct layer *layer)
{
    for (size_t i = 0; i < grace->n_layers; i++) {
        struct grace_layer *waiting = &grace->layers[i];
        if (waiting->layer != layer)
            continue;
        scheduler_unpin(grace->scheduler, waiting->layer);
        if (--waiting->n_leases == 0)
            *waiting = grace->layers[--grace->n_layers];
        return;
    }
}

void grace_end(struct grace *grace)
{
    _cleanup_(freep) struct grace_layer *layers = TAKE_PTR(grace->layers);
    size_t n_layers = grace->n_layers;

    grace->n_layers = 0; /* first, because a client that waited for one of them may look now */
    for (size_t i = 0; i < n_layers; i++)
        for (; layers[i].n_leases > 0; layers[i].n_leases--)
            scheduler_unpin(grace->scheduler, layers[i].layer);
}
