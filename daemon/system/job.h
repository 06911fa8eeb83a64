/* Work for a pool of threads, in steps. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Embedded in its owner's struct, which must live until `done` has run. */
struct job {
    uint64_t n_steps; /* > 0 */
    /* Worker thread. 0 or a negative errno; after an error no further step is started. */
    int (*step)(struct job *job, uint64_t index);
    /* Loop thread, exactly once, when no step runs any more: 0, the first error, or -ECANCELED. */
    void (*done)(struct job *job, int error);
    /* Loop thread, at most once, and before `done`: a step has not moved for WORKERS_ABANDON_USEC.
     * It still runs, and may never end. Optional. */
    void (*abandoned)(struct job *job);

    uid_t uid;        /* the user who has asked for it */
    const void *file; /* what its steps read, to compare only; NULL: nothing that may stall */
    bool is_behind;   /* no step of it is started while another job has one to start */

    /* The pool's. */
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
