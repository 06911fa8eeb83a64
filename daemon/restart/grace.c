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
            scheduler_pin_lease(scheduler, layers[i].layer, layers[i].is_mapped);
}

/* Ends one of its leases. The array is right before the layer is unpinned, because a client that
 * waited for the layer may look now. */
static void end_lease(struct grace *grace, struct grace_layer *waiting)
{
    const struct grace_layer ended = *waiting;

    if (--waiting->n_leases == 0)
        *waiting = grace->layers[--grace->n_layers];
    scheduler_unpin_lease(grace->scheduler, ended.layer, ended.is_mapped);
}

void grace_take_up(struct grace *grace, const struct layer *layer)
{
    for (size_t i = 0; i < grace->n_layers; i++)
        if (grace->layers[i].layer == layer) {
            end_lease(grace, &grace->layers[i]);
            return;
        }
}

/* The first one from this index on; n_layers if there is none. */
static size_t find(const struct grace *grace, size_t from, bool mapped_only)
{
    while (from < grace->n_layers && mapped_only && !grace->layers[from].is_mapped)
        from++;
    return from;
}

bool grace_has_mapped(const struct grace *grace)
{
    return find(grace, 0, true) < grace->n_layers;
}

static bool end_portion(struct grace *grace, bool mapped_only)
{
    size_t at = find(grace, 0, mapped_only);

    for (unsigned n = 0; n < GRACE_PORTION && at < grace->n_layers; n++) {
        end_lease(grace, &grace->layers[at]);
        at = find(grace, at, mapped_only);
    }
    if (grace->n_layers == 0)
        free(TAKE_PTR(grace->layers));
    return find(grace, 0, mapped_only) < grace->n_layers;
}

bool grace_end_mapped(struct grace *grace)
{
    return end_portion(grace, true);
}

bool grace_end(struct grace *grace)
{
    return end_portion(grace, false);
}
