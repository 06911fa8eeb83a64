/* The layers that were leased when the last process ended. Each layer stays pinned until its
 * clients have taken up all its leases again, or until they cannot any more. Loop thread only. */
#pragma once

#include "daemon/scheduler/scheduler.h"

struct grace_layer {
    struct layer *layer;
    uint32_t n_leases; /* leases whose clients have not come back yet */
    bool is_mapped;    /* all of them were of clients with locks; see client_locks.h */
};

struct grace {
    struct scheduler *scheduler; /* borrowed */
    struct grace_layer *layers;  /* owned; the n_layers layers with such leases */
    size_t n_layers;
};

enum { GRACE_PORTION = 256 }; /* leases that end in one turn of the loop */

/* Pins each layer once for each of its leases. The layers must be resident. Takes ownership of the
 * array. */
void grace_begin(struct grace *grace, struct scheduler *scheduler, struct grace_layer *layers,
                 size_t n_layers);

/* A client has taken up one of the layer's leases, and its new lease pins the layer from now on.
 * Does nothing if no lease of the layer waits. */
void grace_take_up(struct grace *grace, const struct layer *layer);

/* Whether a layer waits whose clients had locks. */
bool grace_has_mapped(const struct grace *grace);

/* These unpin layers whose leases still wait: those whose clients had locks, or all. They end at
 * most GRACE_PORTION leases, and return whether some are left. Safe on a zeroed struct. */
bool grace_end_mapped(struct grace *grace);
bool grace_end(struct grace *grace);
