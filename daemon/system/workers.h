/* A fixed pool of threads that do jobs in steps, so that the event loop never waits.
 *
 * Jobs take turns (round robin) step by step, and steps of one job may run on several threads at
 * once. Completion is reported on the loop's thread by workers_dispatch, when the pool's descriptor
 * (an eventfd) is readable. Threads run at nice 10, and as SCHED_BATCH, because otherwise two of
 * them at full speed starve the loop on two cores. */
#pragma once

#include "common/cleanup.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct workers;

/* Embedded in its owner's struct, which must live until `done` has run. */
struct job {
    uint64_t n_steps; /* > 0 */
    /* Runs on a worker thread. Returns 0 or a negative errno; after an error no further step is
     * started. */
    int (*step)(struct job *job, uint64_t index);
    /* Runs on the loop thread, exactly once, when no step runs any more. `error` is 0, the first
     * error, or -ECANCELED. */
    void (*done)(struct job *job, int error);

    bool is_behind; /* its steps start only while no other job has a step to start */

    /* These belong to the pool. */
    struct job *next;
    uint64_t next_step, n_running, n_finished;
    int error;
    atomic_bool cancelled;
};

/* `n_threads` is 1 to 64. Returns 0 or a negative errno. */
int workers_new(unsigned n_threads, struct workers **ret);
/* Cancels every job, joins the threads, and calls every `done` that has not run yet. */
struct workers *workers_free(struct workers *workers);
DEFINE_CLEANUP(struct workers *, workers_free);

/* Call it on the loop thread. `done` never runs before this returns. */
void workers_submit(struct workers *workers, struct job *job);

/* Ends `is_behind`: from now on the job takes its turns like the others. */
void workers_hurry(struct workers *workers, struct job *job);

/* Starts no further step of the job. `done` runs as usual. A running step may ask job_cancelled. */
void workers_cancel(struct workers *workers, struct job *job);
bool job_cancelled(const struct job *job);

int workers_fd(const struct workers *workers); /* borrowed */
void workers_dispatch(struct workers *workers);
