/* A pool of threads that do jobs in steps, so that the event loop never waits.
 *
 * Jobs take turns step by step: users in the order of their numbers, and the jobs of one user round
 * robin. Steps of one job may run on several threads at once. Completion is reported on the loop's
 * thread by workers_dispatch, when the pool's descriptor (an eventfd) is readable. Threads run in
 * the background (thread_priority.h), because otherwise two of them at full speed starve the loop
 * on two cores. Those of a prompt pool, for which programs wait that may keep all processors busy,
 * do so only where the system has no short slices, which the loop asks for as well.
 *
 * A step may wait for a file whose server does not answer. workers_look detects such a stalled
 * step, and starts a spare thread in place of its thread. Until the step returns, no other step of
 * a job with the same file begins. */
#pragma once

#include "common/cleanup.h"
#include "daemon/system/job.h"

struct workers;

enum {
    WORKERS_STALL_USEC = 2000000,    /* a step that has not moved for so long is stalled */
    WORKERS_ABANDON_USEC = 20000000, /* and after this its job is abandoned */
    WORKERS_SPARES_MAX = 8,
};

/* `n_threads` is 1 to 64. Up to WORKERS_SPARES_MAX more threads replace stalled ones. Returns 0 or
 * a negative errno. */
int workers_new(unsigned n_threads, bool is_prompt, struct workers **ret);

/* Cancels every job, joins the threads, calls every `done` that has not run yet, and frees the
 * pool. Returns 0, or -ETIMEDOUT if a step has not returned by `deadline_usec` (CLOCK_MONOTONIC);
 * then the pool still exists, and nothing that its steps use may be freed. */
int workers_end(struct workers *workers, uint64_t deadline_usec);
/* Does the same without a deadline. */
struct workers *workers_free(struct workers *workers);
DEFINE_CLEANUP(struct workers *, workers_free);

/* Call it on the loop thread. `done` never runs before this returns. */
void workers_submit(struct workers *workers, struct job *job);

/* Ends `is_behind`: from now on the job takes its turns like the others. */
void workers_hurry(struct workers *workers, struct job *job);

/* Starts no further step of the job. `done` runs as usual. A running step may ask job_cancelled. */
void workers_cancel(struct workers *workers, struct job *job);

/* A step says what it does from now on: it reads a file, or it computes and so cannot stall. At its
 * beginning it counts as reading. Outside a step these functions do nothing. */
void worker_reads(void);
void worker_computes(void);
/* Whether the job of the step that runs on this thread is cancelled. */
bool worker_is_cancelled(void);
/* Call it on the loop thread about every second. It finds stalled steps, and abandons jobs. */
void workers_look(struct workers *workers, uint64_t now_usec);

int workers_fd(const struct workers *workers); /* borrowed */
void workers_dispatch(struct workers *workers);
