#include "daemon/system/job_queue.h"

#include <stddef.h>

void job_queue_push(struct job_queue *queue, struct job *job)
{
    job->next = NULL;
    if (queue->first)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
}

struct job *job_queue_pop(struct job_queue *queue)
{
    struct job *job = queue->first;
    if (job)
        queue->first = job->next;
    return job;
}

bool job_queue_remove(struct job_queue *queue, const struct job *job)
{
    struct job_queue others = {0};
    bool was_queued = false;
    for (struct job *other; (other = job_queue_pop(queue));) {
        was_queued |= other == job;
        if (other != job)
            job_queue_push(&others, other);
    }
    *queue = others;
    return was_queued;
}

void job_queue_cancel(const struct job_queue *queue)
{
    for (struct job *job = queue->first; job; job = job->next)
        atomic_store(&job->cancelled, true);
}

/* How many user numbers lie between; the last user himself comes last. */
static uid_t distance(uid_t last_uid, const struct job *job)
{
    return job->uid - last_uid - 1;
}

struct job *job_queue_take(struct job_queue *queue, uid_t last_uid,
                           bool (*is_held)(const struct job *job, const void *context),
                           const void *context)
{
    struct job *next = NULL, *before_next = NULL, *before = NULL;
    for (struct job *job = queue->first; job; before = job, job = job->next) {
        if (is_held(job, context) || (next && distance(last_uid, job) >= distance(last_uid, next)))
            continue;
        next = job;
        before_next = before;
    }
    if (!next)
        return NULL;
    if (before_next)
        before_next->next = next->next;
    else
        queue->first = next->next;
    if (queue->last == next)
        queue->last = before_next;
    return next;
}
