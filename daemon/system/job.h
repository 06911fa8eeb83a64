/* Work for a pool of threads, in steps. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Embedded in its owner's struct, which must live until `done` has run. */
struct job {
    uint64_t n_steps; /* > 0 */
    /* Runs on a worker thread. Returns 0 or a negative errno; after an error no further step is
     * started. */
    int (*step)(struct job *job, uint64_t index);
    /* Runs on the loop thread, exactly once, when no step runs any more. `error` is 0, the first
     * error, or -ECANCELED. */
    void (*done)(struct job *job, int error);
    /* Runs on the loop thread, at most once, before `done`, if a step has not moved for
     * WORKERS_ABANDON_USEC. That step still runs, and may never end. NULL: the job waits for it,
     * and so do others with the same file. */
    void (*abandoned)(struct job *job);

    uid_t uid;        /* the user who requested it */
    const void *file; /* identifies what its steps read; NULL: no other job shares it */
    bool is_behind;   /* its steps start only while no other job has a step to start */

    /* These belong to the pool. */
    struct job *next;
    uint64_t next_step, n_running, n_finished;
    int error;
    bool is_abandoned;
    atomic_bool cancelled;
};

static inline bool job_cancelled(const struct job *job)
{
    return atomic_load(&job->cancelled);
}
