/* Owns the threads and the queues that jobs pass through: ready or behind (at least one step has
 * not started) and finished (`done` has not run).
 *
 * Invariant: a job is in the ready or the behind queue if and only if next_step < n_steps and no
 * thread is just taking one of its steps. It moves to finished exactly once, when next_step is
 * n_steps and n_running is 0. If a job failed or was cancelled, its remaining steps are dropped
 * when its turn comes. Every queue operation is O(1), and so is all bookkeeping for a step. */
#include "daemon/system/workers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { THREADS_MAX = 64, STACK_BYTES = 256 << 10, NICE = 10 };

struct queue {
    struct job *first, *last;
};

struct worker {
    struct workers *workers;
    pthread_t thread;
    struct job *job; /* the job whose step is running, or NULL */
};

struct workers {
    pthread_mutex_t lock; /* guards the queues, the jobs' fields and the members below */
    pthread_cond_t wake;
    struct queue ready, behind, finished;
    bool stopping;
    int event_fd; /* readable while a job is in `finished` */
    unsigned n_threads;
    struct worker threads[];
};

static void push(struct queue *queue, struct job *job)
{
    job->next = NULL;
    if (queue->first)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
}

static struct job *pop(struct queue *queue)
{
    struct job *job = queue->first;
    if (job)
        queue->first = job->next;
    return job;
}

static void push_ready(struct workers *workers, struct job *job)
{
    push(job->is_behind ? &workers->behind : &workers->ready, job);
    pthread_cond_signal(&workers->wake);
}

static void finish_if_over(struct workers *workers, struct job *job)
{
    if (job->next_step < job->n_steps || job->n_running > 0)
        return;
    if (job->error == 0 && job->n_finished < job->n_steps)
        job->error = -ECANCELED;
    push(&workers->finished, job);
    eventfd_write(workers->event_fd, 1);
}

/* The lock is held at the call and at the return. */
static void run_step(struct workers *workers, struct worker *worker, struct job *job)
{
    if (job->error != 0 || job_cancelled(job)) {
        job->next_step = job->n_steps;
        finish_if_over(workers, job);
        return;
    }
    uint64_t index = job->next_step++;
    job->n_running++;
    if (job->next_step < job->n_steps)
        push_ready(workers, job);
    worker->job = job;
    pthread_mutex_unlock(&workers->lock);
    int r = job->step(job, index);
    pthread_mutex_lock(&workers->lock);
    worker->job = NULL;
    job->n_running--;
    if (r < 0 && job->error == 0)
        job->error = r;
    else if (r >= 0)
        job->n_finished++;
    finish_if_over(workers, job);
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct workers *workers = worker->workers;
    /* Every process may lower its priority, so a failure needs no handling: the thread would only
     * compete with the loop. A batch thread does not preempt the running thread when its read is
     * complete. */
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);

    pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct job *job = pop(&workers->ready) ?: pop(&workers->behind);
        if (job)
            run_step(workers, worker, job);
        else if (workers->stopping)
            break;
        else
            pthread_cond_wait(&workers->wake, &workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

int workers_new(unsigned n_threads, struct workers **ret)
{
    if (n_threads < 1 || n_threads > THREADS_MAX)
        return -EINVAL;
    struct workers *workers = calloc(1, sizeof *workers + n_threads * sizeof *workers->threads);
    if (!workers)
        return -ENOMEM;
    workers->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers->event_fd < 0) {
        int r = -errno;
        free(workers);
        return r;
    }
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->wake, NULL);

    /* Threads inherit the mask. All signals go to the loop's thread. */
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    pthread_attr_t attributes;
    int r = -pthread_attr_init(&attributes);
    if (r == 0) {
        r = -pthread_attr_setstacksize(&attributes, STACK_BYTES);
        while (r == 0 && workers->n_threads < n_threads) {
            struct worker *worker = &workers->threads[workers->n_threads];
            worker->workers = workers;
            r = -pthread_create(&worker->thread, &attributes, run, worker);
            if (r == 0)
                workers->n_threads++;
        }
        pthread_attr_destroy(&attributes);
    }
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    if (r < 0) {
        workers_free(workers);
        return r;
    }
    *ret = workers;
    return 0;
}

struct workers *workers_free(struct workers *workers)
{
    if (!workers)
        return NULL;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    for (struct job *job = workers->ready.first; job; job = job->next)
        atomic_store(&job->cancelled, true);
    for (struct job *job = workers->behind.first; job; job = job->next)
        atomic_store(&job->cancelled, true);
    for (unsigned i = 0; i < workers->n_threads; i++)
        if (workers->threads[i].job)
            atomic_store(&workers->threads[i].job->cancelled, true);
    pthread_cond_broadcast(&workers->wake);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->n_threads; i++)
        pthread_join(workers->threads[i].thread, NULL);

    while (workers->finished.first)
        workers_dispatch(workers);
    assert(!workers->ready.first && !workers->behind.first);
    pthread_cond_destroy(&workers->wake);
    pthread_mutex_destroy(&workers->lock);
    close(workers->event_fd);
    free(workers);
    return NULL;
}

void workers_submit(struct workers *workers, struct job *job)
{
    assert(job->n_steps > 0);
    job->next_step = job->n_running = job->n_finished = 0;
    job->error = 0;
    pthread_mutex_lock(&workers->lock);
    atomic_init(&job->cancelled, workers->stopping);
    if (workers->stopping) {
        job->next_step = job->n_steps;
        finish_if_over(workers, job);
    } else {
        push_ready(workers, job);
    }
    pthread_mutex_unlock(&workers->lock);
}

void workers_hurry(struct workers *workers, struct job *job)
{
    pthread_mutex_lock(&workers->lock);
    if (job->is_behind) {
        struct queue others = {0};
        bool is_queued = false;
        for (struct job *other; (other = pop(&workers->behind));) {
            is_queued |= other == job;
            if (other != job)
                push(&others, other);
        }
        workers->behind = others;
        job->is_behind = false;
        if (is_queued)
            push_ready(workers, job);
    }
    pthread_mutex_unlock(&workers->lock);
}

void workers_cancel(struct workers *workers, struct job *job)
{
    /* The lock makes sure that no thread has just checked the flag and not yet started its step. */
    pthread_mutex_lock(&workers->lock);
    atomic_store(&job->cancelled, true);
    pthread_mutex_unlock(&workers->lock);
}

bool job_cancelled(const struct job *job)
{
    return atomic_load(&job->cancelled);
}

int workers_fd(const struct workers *workers)
{
    return workers->event_fd;
}

void workers_dispatch(struct workers *workers)
{
    eventfd_t count;
    (void)eventfd_read(workers->event_fd, &count);
    pthread_mutex_lock(&workers->lock);
    struct queue finished = workers->finished;
    workers->finished = (struct queue){0};
    pthread_mutex_unlock(&workers->lock);

    /* If a `done` submits a job that finishes soon, that job's `done` waits for the next call. */
    struct job *job;
    while ((job = pop(&finished)))
        job->done(job, job->error);
}
