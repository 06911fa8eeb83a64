/* A fixed pool of threads that work in steps, so that the event loop never waits.
 *
 * Jobs take turns (round robin) step by step, and steps of one job may run on several threads at
 * once. Completion is reported on the loop's thread by workers_dispatch, when the pool's descriptor
 * (an eventfd) is readable. Threads run at nice 10, and as SCHED_BATCH: two of them at full speed
 * starve a loop on two cores otherwise. */
#pragma once

#include "common/cleanup.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct workers;

/* Embedded in its owner's struct, which must live until `done` has run. */
struct job {
    uint64_t n_steps; /* > 0 */
    /* Worker thread. 0 or a negative errno; after an error no further step is started. */
    int (*step)(struct job *job, uint64_t index);
    /* Loop thread, exactly once, when no step runs any more: 0, the first error, or -ECANCELED. */
    void (*done)(struct job *job, int error);

    bool is_behind; /* no step of it is started while another job has one to start */

    /* The pool's. */
    struct job *next;
    uint64_t next_step, n_running, n_finished;
    int error;
    atomic_bool cancelled;
};

/* `n_threads` from 1 to 64. 0 or a negative errno. */
int workers_new(unsigned n_threads, struct workers **ret);
/* Cancels every job, joins the threads and runs what `done` is still owed. */
struct workers *workers_free(struct workers *workers);
DEFINE_CLEANUP(struct workers *, workers_free);

/* Loop thread. `done` never runs before this returns. */
void workers_submit(struct workers *workers, struct job *job);

/* A job that is behind takes its turns like the others from now on. */
void workers_hurry(struct workers *workers, struct job *job);

/* No further step is started; `done` follows as usual. Steps may look at job_cancelled. */
void workers_cancel(struct workers *workers, struct job *job);
bool job_cancelled(const struct job *job);

int workers_fd(const struct workers *workers); /* borrowed */
void workers_dispatch(struct workers *workers);
