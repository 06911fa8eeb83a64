/* A pool of workers, and jobs whose steps a test can hold and whose order it can see. Nothing
 * sleeps: semaphores hold the steps, and tests wait for jobs through the pool's descriptor. */
#pragma once

#include "daemon/system/workers.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static struct workers *workers;
static sem_t entered, proceed; /* of the steps that are held */
static char marks[16];         /* of the steps in their order */
static atomic_uint n_marks;

struct work {
    struct job job;
    bool posts, waits; /* `entered` is posted and `proceed` awaited by every step */
    pthread_barrier_t *together;
    char mark; /* '\0': none */
    atomic_uint n_steps;
    uint64_t fail_at; /* a step that returns -EIO */
    unsigned n_done;
    int result;
    struct work *follow_up; /* submitted once, from done */
};

static inline int step(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    if (work->posts)
        sem_post(&entered);
    if (work->waits)
        sem_wait(&proceed);
    if (work->together)
        pthread_barrier_wait(work->together);
    if (work->mark)
        marks[atomic_fetch_add(&n_marks, 1)] = work->mark;
    atomic_fetch_add(&work->n_steps, 1);
    return index == work->fail_at ? -EIO : 0;
}

static inline void done(struct job *job, int error)
{
    struct work *work = (struct work *)job;
    work->n_done++;
    work->result = error;
    if (work->follow_up)
        workers_submit(workers, &TAKE_PTR(work->follow_up)->job);
}

static inline struct work make(uint64_t n_steps)
{
    return (struct work){.job = {.n_steps = n_steps, .step = step, .done = done},
                         .fail_at = UINT64_MAX};
}

/* Each step reports that it has begun, and waits until it may continue. */
static inline struct work make_held(uint64_t n_steps)
{
    struct work work = make(n_steps);
    work.posts = work.waits = true;
    return work;
}

static inline struct work make_marked(uint64_t n_steps, char mark)
{
    struct work work = make(n_steps);
    work.mark = mark;
    return work;
}

static inline void set_up(void)
{
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    memset(marks, 0, sizeof marks);
    n_marks = 0;
}

/* The tests own the jobs: jobs that may still run end here. */
static inline void stop(void)
{
    workers = workers_free(workers);
}

static inline void tear_down(void)
{
    stop();
    sem_destroy(&entered);
    sem_destroy(&proceed);
}

static inline void start(unsigned n_threads)
{
    stop();
    ck_assert_int_eq(workers_new(n_threads, false, &workers), 0);
}

static inline void submit(struct work *work)
{
    workers_submit(workers, &work->job);
}

/* Its first step runs. */
static inline void submit_and_enter(struct work *work)
{
    submit(work);
    sem_wait(&entered);
}

static inline void await(const struct work *work)
{
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    while (work->n_done == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(workers);
    }
}

static inline int wait_for_cancellation(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    (void)index;
    sem_post(&entered);
    while (!job_cancelled(job))
        sched_yield();
    atomic_fetch_add(&work->n_steps, 1);
    return 0;
}
