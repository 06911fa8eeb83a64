/* A pool of threads that work in steps, so that the event loop never waits.
 *
 * Jobs take turns step by step: the users in the order of their numbers, the jobs of one user round
 * robin. Steps of one job may run on several threads at once. Completion is reported on the loop's
 * thread by workers_dispatch, when the pool's descriptor (an eventfd) is readable. Threads run at
 * nice 10, and as SCHED_BATCH: two of them at full speed starve a loop on two cores otherwise.
 *
 * A step may wait for a file whose server does not answer. workers_look notices: such a step is
 * stalled, a spare thread takes the place of its thread, and no further step of a job with the same
 * file begins until it returns. */
#pragma once

#include "common/cleanup.h"
#include "daemon/system/job.h"

struct workers;

enum {
    WORKERS_STALL_USEC = 2000000,    /* a step that has not moved for so long is stalled */
    WORKERS_ABANDON_USEC = 20000000, /* and after this its job is abandoned */
    WORKERS_SPARES_MAX = 8,
};

/* `n_threads` from 1 to 64, and up to WORKERS_SPARES_MAX more in place of those that are stalled. 0
 * or a negative errno. */
int workers_new(unsigned n_threads, struct workers **ret);

/* Cancels every job, joins the threads and runs what `done` is still owed; then the pool is gone.
 * -ETIMEDOUT if a step has not returned by `deadline_usec` (CLOCK_MONOTONIC): the pool stays, and
 * nothing that its steps use may be freed. */
int workers_end(struct workers *workers, uint64_t deadline_usec);
/* Likewise, but waits for as long as it takes. */
struct workers *workers_free(struct workers *workers);
DEFINE_CLEANUP(struct workers *, workers_free);

/* Call it on the loop thread. `done` never runs before this returns. */
void workers_submit(struct workers *workers, struct job *job);

/* Ends `is_behind`: from now on the job takes its turns like the others. */
void workers_hurry(struct workers *workers, struct job *job);

/* Starts no further step of the job. `done` runs as usual. A running step may ask job_cancelled. */
void workers_cancel(struct workers *workers, struct job *job);

/* What the calling step does from now on: it waits for a file, or it computes and cannot stall. A
 * step begins with a file. Outside a step these do nothing. */
void worker_reads(void);
void worker_computes(void);
/* Loop thread, every second or so. Notices steps that are stalled or return, and abandons jobs. */
void workers_look(struct workers *workers, uint64_t now_usec);

int workers_fd(const struct workers *workers); /* borrowed */
void workers_dispatch(struct workers *workers);
