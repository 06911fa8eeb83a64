/* Owns the threads and the queues that jobs pass through: ready or behind (at least one step has
 * not started) and finished (`done` has not run).
 *
 * Invariant: a job is in the ready or the behind queue if and only if next_step < n_steps and no
 * thread is just taking one of its steps. It moves to finished exactly once, when next_step is
 * n_steps and n_running is 0. If a job failed or was cancelled, its remaining steps are dropped
 * when its turn comes. To take a step costs O(queued jobs); each job belongs to one call.
 *
 * At most n_threads threads are not stalled. If a thread returns from a stalled step, and there are
 * n_threads others by then, it ends. */
#include "daemon/system/workers.h"

#include "common/clock.h"
#include "common/thread_priority.h"
#include "daemon/system/job_queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum { THREADS_MAX = 64, STACK_BYTES = 256 << 10 };

struct worker {
    struct workers *workers;
    pthread_t thread;
    bool has_thread;
    bool has_ended;  /* the thread must be joined */
    struct job *job; /* the job whose step is running, or NULL */
    bool is_stalled;
    _Atomic uint64_t moved_usec; /* when the step began, or last went on; UINT64_MAX: it computes */
};

struct workers {
    pthread_mutex_t lock; /* guards the queues, the jobs' fields and the members below */
    pthread_cond_t wake;
    struct job_queue ready, behind, finished;
    bool stopping, is_prompt;
    int event_fd;   /* readable while a job is in `finished` */
    uid_t last_uid; /* the user whose step was taken last */
    unsigned n_threads, n_alive, n_stalled, n_slots;
    struct worker threads[]; /* n_slots: n_threads and the spares */
};

static _Thread_local struct worker *self;

/* Whether it has to wait for a file that does not answer. */
static bool is_held(const struct job *job, const void *context)
{
    const struct workers *workers = context;
    if (workers->n_stalled == 0 || !job->file || job->error != 0 || job->is_abandoned ||
        job_cancelled(job))
        return false;
    for (unsigned i = 0; i < workers->n_slots; i++) {
        const struct worker *worker = &workers->threads[i];
        if (worker->is_stalled && worker->job->file == job->file)
            return true;
    }
    return false;
}

static struct job *take(struct workers *workers, struct job_queue *queue)
{
    struct job *job = job_queue_take(queue, workers->last_uid, is_held, workers);
    if (job)
        workers->last_uid = job->uid;
    return job;
}

/* The caller signals `wake`, without the lock, because a thread that is woken runs at once. */
static void push_ready(struct workers *workers, struct job *job)
{
    job_queue_push(job->is_behind ? &workers->behind : &workers->ready, job);
}

/* Returns whether the caller must write to `event_fd`, without the lock. */
static bool finish_if_over(struct workers *workers, struct job *job)
{
    if (job->next_step < job->n_steps || job->n_running > 0)
        return false;
    if (job->error == 0 && job->n_finished < job->n_steps)
        job->error = -ECANCELED;
    job_queue_push(&workers->finished, job);
    return true;
}

static void set_stalled(struct worker *worker, bool is_stalled)
{
    struct workers *workers = worker->workers;
    if (worker->is_stalled == is_stalled)
        return;
    worker->is_stalled = is_stalled;
    workers->n_stalled += is_stalled ? 1 : -1U;
    if (!is_stalled)
        pthread_cond_broadcast(&workers->wake); /* for the jobs that were held */
}

/* Called and left with the lock held. Returns what finish_if_over does. */
static bool run_step(struct workers *workers, struct worker *worker, struct job *job)
{
    if (job->error != 0 || job_cancelled(job)) {
        job->next_step = job->n_steps;
        return finish_if_over(workers, job);
    }
    uint64_t index = job->next_step++;
    bool has_more = job->next_step < job->n_steps;
    job->n_running++;
    if (has_more)
        push_ready(workers, job);
    worker->job = job;
    atomic_store(&worker->moved_usec, clock_monotonic_usec());
    pthread_mutex_unlock(&workers->lock);
    if (has_more)
        pthread_cond_signal(&workers->wake);
    int r = job->step(job, index);
    pthread_mutex_lock(&workers->lock);
    worker->job = NULL;
    set_stalled(worker, false);
    job->n_running--;
    if (r < 0 && job->error == 0)
        job->error = r;
    else if (r >= 0)
        job->n_finished++;
    return finish_if_over(workers, job);
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct workers *workers = worker->workers;
    if (!workers->is_prompt || !thread_be_prompt())
        thread_be_background();
    self = worker;

    pthread_mutex_lock(&workers->lock);
    while (workers->n_alive - workers->n_stalled <= workers->n_threads) {
        struct job *job = take(workers, &workers->ready) ?: take(workers, &workers->behind);
        if (!job && workers->stopping)
            break;
        if (!job) {
            pthread_cond_wait(&workers->wake, &workers->lock);
        } else if (run_step(workers, worker, job)) {
            pthread_mutex_unlock(&workers->lock);
            eventfd_write(workers->event_fd, 1);
            pthread_mutex_lock(&workers->lock);
        }
    }
    workers->n_alive--;
    worker->has_ended = true;
    pthread_cond_signal(&workers->wake); /* the wake-up may have been another's */
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

/* Starts threads until as many as there should be are not stalled, or all slots are taken. Called
 * with the lock held. Threads inherit the mask: signals are the loop's. */
static int start_threads(struct workers *workers)
{
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    pthread_attr_t attributes;
    int r = -pthread_attr_init(&attributes);
    if (r == 0) {
        r = -pthread_attr_setstacksize(&attributes, STACK_BYTES);
        for (unsigned i = 0; r == 0 && i < workers->n_slots &&
                             workers->n_alive - workers->n_stalled < workers->n_threads;
             i++) {
            struct worker *worker = &workers->threads[i];
            if (worker->has_thread)
                continue;
            *worker = (struct worker){.workers = workers};
            r = -pthread_create(&worker->thread, &attributes, run, worker);
            worker->has_thread = r == 0;
            workers->n_alive += r == 0;
        }
        pthread_attr_destroy(&attributes);
    }
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    return r;
}

int workers_new(unsigned n_threads, bool is_prompt, struct workers **ret)
{
    if (n_threads < 1 || n_threads > THREADS_MAX)
        return -EINVAL;
    unsigned n_slots = n_threads + WORKERS_SPARES_MAX;
    struct workers *workers = calloc(1, sizeof *workers + n_slots * sizeof *workers->threads);
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

    workers->is_prompt = is_prompt;
    workers->n_threads = n_threads;
    workers->n_slots = n_slots;
    pthread_mutex_lock(&workers->lock);
    int r = start_threads(workers);
    pthread_mutex_unlock(&workers->lock);
    if (r < 0) {
        workers_free(workers);
        return r;
    }
    *ret = workers;
    return 0;
}

static int join(struct worker *worker, uint64_t deadline_usec)
{
    const struct timespec deadline = {.tv_sec = (time_t)(deadline_usec / 1000000),
                                      .tv_nsec = (long)(deadline_usec % 1000000) * 1000};
    if (!worker->has_thread)
        return 0;
    int r = deadline_usec == UINT64_MAX
                ? -pthread_join(worker->thread, NULL)
                : -pthread_clockjoin_np(worker->thread, NULL, CLOCK_MONOTONIC, &deadline);
    if (r == 0)
        worker->has_thread = false;
    return r;
}

int workers_end(struct workers *workers, uint64_t deadline_usec)
{
    int r = 0;
    if (!workers)
        return 0;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    job_queue_cancel(&workers->ready);
    job_queue_cancel(&workers->behind);
    for (unsigned i = 0; i < workers->n_slots; i++)
        if (workers->threads[i].job)
            atomic_store(&workers->threads[i].job->cancelled, true);
    pthread_cond_broadcast(&workers->wake);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->n_slots && r == 0; i++)
        r = join(&workers->threads[i], deadline_usec);
    if (r < 0)
        return r;

    while (workers->finished.first)
        workers_dispatch(workers);
    assert(!workers->ready.first && !workers->behind.first);
    pthread_cond_destroy(&workers->wake);
    pthread_mutex_destroy(&workers->lock);
    close(workers->event_fd);
    free(workers);
    return 0;
}

struct workers *workers_free(struct workers *workers)
{
    workers_end(workers, UINT64_MAX);
    return NULL;
}

void workers_submit(struct workers *workers, struct job *job)
{
    assert(job->n_steps > 0);
    job->next_step = job->n_running = job->n_finished = 0;
    job->error = 0;
    job->is_abandoned = false;
    pthread_mutex_lock(&workers->lock);
    atomic_init(&job->cancelled, workers->stopping);
    if (workers->stopping) {
        job->next_step = job->n_steps;
        finish_if_over(workers, job);
        eventfd_write(workers->event_fd, 1);
    } else {
        push_ready(workers, job);
    }
    pthread_mutex_unlock(&workers->lock);
    pthread_cond_signal(&workers->wake);
}

void workers_hurry(struct workers *workers, struct job *job)
{
    pthread_mutex_lock(&workers->lock);
    if (job->is_behind) {
        job->is_behind = false;
        if (job_queue_remove(&workers->behind, job))
            push_ready(workers, job);
    }
    pthread_mutex_unlock(&workers->lock);
    pthread_cond_signal(&workers->wake);
}

void workers_cancel(struct workers *workers, struct job *job)
{
    /* The lock makes sure that no thread has just checked the flag and not yet started its step. */
    pthread_mutex_lock(&workers->lock);
    atomic_store(&job->cancelled, true);
    pthread_mutex_unlock(&workers->lock);
}

void worker_reads(void)
{
    if (self)
        atomic_store(&self->moved_usec, clock_monotonic_usec());
}

void worker_computes(void)
{
    if (self)
        atomic_store(&self->moved_usec, UINT64_MAX);
}

bool worker_is_cancelled(void)
{
    return self && job_cancelled(self->job);
}

static uint64_t stands_still_usec(const struct worker *worker, uint64_t now_usec)
{
    uint64_t moved_usec = atomic_load(&worker->moved_usec);
    return worker->job && moved_usec < now_usec ? now_usec - moved_usec : 0;
}

static struct job *find_waiting(const struct job_queue *queue, const struct job *stalled)
{
    for (struct job *job = queue->first; job && stalled->file; job = job->next)
        if (job->file == stalled->file && job->abandoned && !job->is_abandoned)
            return job;
    return NULL;
}

/* A job of which a step has stood still for too long, or that waits for the same file. */
static struct job *find_hopeless(const struct workers *workers, uint64_t now_usec)
{
    struct job *job = NULL;
    for (unsigned i = 0; i < workers->n_slots && !job; i++) {
        const struct worker *worker = &workers->threads[i];
        if (stands_still_usec(worker, now_usec) < WORKERS_ABANDON_USEC)
            continue;
        job = worker->job->abandoned && !worker->job->is_abandoned ? worker->job : NULL;
        if (!job)
            job = find_waiting(&workers->ready, worker->job);
        if (!job)
            job = find_waiting(&workers->behind, worker->job);
    }
    return job;
}

/* The hook runs before others may take a step of the job, and without the lock: it is alive,
 * because only the loop ends it. */
static void abandon_hopeless(struct workers *workers, uint64_t now_usec)
{
    struct job *job;
    while ((job = find_hopeless(workers, now_usec))) {
        pthread_mutex_unlock(&workers->lock);
        job->abandoned(job);
        pthread_mutex_lock(&workers->lock);
        job->is_abandoned = true;
        pthread_cond_broadcast(&workers->wake);
    }
}

void workers_look(struct workers *workers, uint64_t now_usec)
{
    pthread_mutex_lock(&workers->lock);
    for (unsigned i = 0; i < workers->n_slots; i++) {
        struct worker *worker = &workers->threads[i];
        if (worker->has_ended)
            join(worker, UINT64_MAX); /* it has nothing left to do but to return */
        else
            set_stalled(worker, stands_still_usec(worker, now_usec) >= WORKERS_STALL_USEC);
    }
    start_threads(workers); /* what fails is tried again at the next look */
    abandon_hopeless(workers, now_usec);
    pthread_mutex_unlock(&workers->lock);
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
    struct job_queue finished = workers->finished;
    workers->finished = (struct job_queue){0};
    pthread_mutex_unlock(&workers->lock);

    /* If a `done` submits a job that finishes soon, that job's `done` waits for the next call. */
    struct job *job;
    while ((job = job_queue_pop(&finished)))
        job->done(job, job->error);
}
