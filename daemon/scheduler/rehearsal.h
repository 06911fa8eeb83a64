/* A run in virtual time. It finds out what the run's passes load and how long they take. The
 * scheduler's own code decides, on a scheduler that is used for nothing else. One disk reads one
 * layer after the other, and a client computes with each layer for its share of a pass. No memory
 * is touched. */
#pragma once

#include "daemon/scheduler/scheduler.h"

/* The rates from which the time of a pass follows; 0: not known. */
struct rehearsal_rates {
    uint64_t disk_bytes_per_sec;
    uint64_t compute_usec; /* for one pass; each layer takes a part in proportion to its bytes */
};

struct rehearsal {
    struct scheduler *scheduler; /* borrowed */
    struct rehearsal_rates rates;
    struct run *run;
    double now_usec, disk_free_usec; /* from the beginning of the first pass */
    /* Called before each layer, unless NULL. A negative errno ends the pass. */
    int (*go_on)(void *context);
    void *context;
};

/* A layer that was read ahead counts as loaded in the pass that uses it. */
struct pass {
    uint64_t hits, loaded, loaded_bytes, evictions, flushes;
    double usec;
};

/* Begins a run through `model`. Returns 0 or a negative errno. */
int rehearsal_begin(struct scheduler *scheduler, struct model *model,
                    const struct rehearsal_rates *rates, struct rehearsal *ret);
void rehearsal_end(struct rehearsal *rehearsal);

/* Goes through the model once. Returns 0; -EBUSY if pinned or loading layers leave too little room;
 * -ENOMEM; or the error that go_on returned. */
int rehearsal_pass(struct rehearsal *rehearsal, struct pass *ret);
