/* A queue of jobs, from which users take turns. Nothing is locked here. */
#pragma once

#include "daemon/system/job.h"

/* Zero-initialised, it is empty. */
struct job_queue {
    struct job *first, *last;
};

void job_queue_push(struct job_queue *queue, struct job *job);
struct job *job_queue_pop(struct job_queue *queue);                    /* NULL: empty */
bool job_queue_remove(struct job_queue *queue, const struct job *job); /* whether it was in it */
void job_queue_cancel(const struct job_queue *queue);                  /* all jobs in it */

/* Takes the first job of the user who comes next after `last_uid`, in the order of their numbers
 * and around. Passes over jobs that are held. NULL if there is none. */
struct job *job_queue_take(struct job_queue *queue, uid_t last_uid,
                           bool (*is_held)(const struct job *job, const void *context),
                           const void *context);
