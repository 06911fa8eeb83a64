/* The daemon's pools of threads. Each kind of work has its own, so that none waits for another. */
#pragma once

#include "daemon/system/clock_watch.h"
#include "daemon/system/workers.h"

struct event;
struct event_base;

struct pools {
    struct workers *readers;        /* of models */
    struct workers *loaders;        /* of layers */
    struct workers *prompt_loaders; /* of layers for views */
    struct workers *planners; /* forecasts and the choice of runs' plans: they read no files */
    struct workers *closers;  /* of descriptors that clients passed */
    struct workers *trimmers; /* give memory of the arena back, and take it again */
    struct clock_watch clocks;
    uint64_t no_look_before_usec; /* monotonic */
    struct event *events[7];
};

/* 0 or a negative errno; then pools_end is still due. */
int pools_start(struct pools *pools, unsigned n_loaders);

/* The loop reports what is done, and notices steps that do not return. It logs what happens to the
 * clocks. 0 or -ENOMEM. */
int pools_watch(struct pools *pools, struct event_base *base);

/* Whatever was started ends within seconds, but for the closers. 0; -ETIMEDOUT if a step does not
 * return: then nothing that steps use may be freed, and pools_leave is all that is left to do. */
int pools_end(struct pools *pools);

/* Last, when nothing is left to close. 0 or -ETIMEDOUT, likewise. */
int pools_end_closers(struct pools *pools);

/* Ends the process with the exit status while steps do not return. */
_Noreturn void pools_leave(int status);
