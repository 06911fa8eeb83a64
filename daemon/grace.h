/* What was leased when the last process ended: pinned until somebody leases it again, or until
 * lease-grace is over. How many clients held a layer is not known, so the first lease ends its pin.
 * Loop thread only. */
#pragma once

#include "daemon/scheduler.h"

struct grace {
    struct scheduler *scheduler; /* borrowed */
    struct layer **layers;       /* owned, n_layers that still wait */
    size_t n_layers;
};

/* Pins the layers, which are resident. Takes the array. */
void grace_begin(struct grace *grace, struct scheduler *scheduler, struct layer **layers,
                 size_t n_layers);

/* The layer has got a lease, and stays for that; most do not wait. */
void grace_take_up(struct grace *grace, const struct layer *layer);

/* Unpins what still waits. Safe on a zeroed one. */
void grace_end(struct grace *grace);
