/* A run in virtual time: what its passes load and how long they take, decided by the scheduler's
 * own code on a scheduler that nobody else uses. One disk reads one layer after the other; a client
 * computes with each layer for its share of a pass. No memory is touched. */
#pragma once

#include "daemon/scheduler/scheduler.h"

/* What a pass takes its time from; 0 for a rate that is not known. */
struct rehearsal_rates {
    uint64_t disk_bytes_per_sec;
    uint64_t compute_usec; /* of one pass, spread over the layers by their bytes */
};

struct rehearsal {
    struct scheduler *scheduler; /* borrowed */
    struct rehearsal_rates rates;
    struct run *run;
    double now_usec, disk_free_usec; /* since the first pass began */
    /* Asked before each layer, if set: a negative errno ends the pass with it. */
    int (*go_on)(void *context);
    void *context;
};

/* A layer that was read ahead counts as loaded in the pass that uses it. */
struct pass {
    uint64_t hits, loaded, loaded_bytes, evictions, flushes;
    double usec;
};

/* Begins a run over `model`. 0 or a negative errno. */
int rehearsal_begin(struct scheduler *scheduler, struct model *model,
                    const struct rehearsal_rates *rates, struct rehearsal *ret);
void rehearsal_end(struct rehearsal *rehearsal);

/* Goes through the model once. 0; -EBUSY if layers that are held or loading leave no place;
 * -ENOMEM; or as go_on has it. */
int rehearsal_pass(struct rehearsal *rehearsal, struct pass *ret);
