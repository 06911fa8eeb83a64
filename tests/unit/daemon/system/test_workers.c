/* The pool: order, concurrency, errors, cancellation and the debts of workers_free. Nothing sleeps:
 * threads are held by semaphores and awaited through the pool's descriptor. */
#include "daemon/system/workers.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum { STEPS_MAX = 100000 };

struct work {
    struct job job;
    sem_t *entered, *proceed; /* posted and awaited by every step, where set */
    pthread_barrier_t *together;
    char mark;
    char *log;
    atomic_uint *n_log, n_steps;
    uint64_t fail_at; /* a step that returns -EIO */
    unsigned n_done;
    int result;
    struct workers *resubmit; /* once, from done */
    struct work *follow_up;
};

static int step(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    if (work->entered)
        sem_post(work->entered);
    if (work->proceed)
        sem_wait(work->proceed);
    if (work->together)
        pthread_barrier_wait(work->together);
    if (work->log)
        work->log[atomic_fetch_add(work->n_log, 1)] = work->mark;
    atomic_fetch_add(&work->n_steps, 1);
    return index == work->fail_at ? -EIO : 0;
}

static void done(struct job *job, int error)
{
    struct work *work = (struct work *)job;
    work->n_done++;
    work->result = error;
    if (work->resubmit)
        workers_submit(TAKE_PTR(work->resubmit), &work->follow_up->job);
}

static struct work make(uint64_t n_steps)
{
    return (struct work){.job = {.n_steps = n_steps, .step = step, .done = done},
                         .fail_at = UINT64_MAX};
}

static void await(struct workers *workers, const struct work *work)
{
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    while (work->n_done == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(workers);
    }
}

static struct workers *start(unsigned n_threads)
{
    struct workers *workers = NULL;
    ck_assert_int_eq(workers_new(n_threads, &workers), 0);
    return workers;
}

START_TEST(refuses_a_wrong_number_of_threads)
{
    struct workers *workers = NULL;
    ck_assert_int_eq(workers_new(0, &workers), -EINVAL);
    ck_assert_int_eq(workers_new(65, &workers), -EINVAL);
    ck_assert_ptr_null(workers);
    ck_assert_ptr_null(workers_free(NULL));
    workers_free(start(64));
}
END_TEST

START_TEST(runs_every_step_once)
{
    struct workers *workers = start(4);
    struct work a = make(STEPS_MAX), b = make(1);
    workers_submit(workers, &a.job);
    workers_submit(workers, &b.job);
    await(workers, &a);
    await(workers, &b);
    ck_assert_uint_eq(a.n_steps, STEPS_MAX);
    ck_assert_int_eq(a.result, 0);
    ck_assert_uint_eq(b.n_steps, 1);
    workers_free(workers);
    ck_assert_uint_eq(a.n_done + b.n_done, 2);
}
END_TEST

START_TEST(jobs_take_turns)
{
    char log[8] = "";
    atomic_uint n_log = 0;
    sem_t proceed;
    sem_init(&proceed, 0, 0);
    struct workers *workers = start(1);
    struct work hold = make(1), a = make(4), b = make(2);
    hold.proceed = &proceed;
    a.log = b.log = log;
    a.n_log = b.n_log = &n_log;
    a.mark = 'a';
    b.mark = 'b';
    workers_submit(workers, &hold.job);
    workers_submit(workers, &a.job);
    workers_submit(workers, &b.job);
    sem_post(&proceed);
    await(workers, &a);
    ck_assert_str_eq(log, "ababaa");
    workers_free(workers);
    sem_destroy(&proceed);
}
END_TEST

static int wait_for_cancellation(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    (void)index;
    sem_post(work->entered);
    while (!job_cancelled(job))
        sched_yield();
    atomic_fetch_add(&work->n_steps, 1);
    return 0;
}

static void log_to(struct work *work, char mark, char *log, atomic_uint *n_log)
{
    work->mark = mark;
    work->log = log;
    work->n_log = n_log;
}

START_TEST(a_job_that_is_behind_waits_for_the_others)
{
    char log[16] = "";
    atomic_uint n_log = 0;
    sem_t entered, proceed;
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    struct workers *workers = start(1);
    struct work behind = make(3), other_behind = make(2), a = make(2), b = make(2);
    log_to(&behind, 'x', log, &n_log);
    log_to(&other_behind, 'y', log, &n_log);
    log_to(&a, 'a', log, &n_log);
    log_to(&b, 'b', log, &n_log);
    behind.job.is_behind = other_behind.job.is_behind = true;
    behind.entered = &entered;
    behind.proceed = &proceed;
    workers_submit(workers, &behind.job);
    sem_wait(&entered); /* its first step runs, with nothing else to do */
    workers_submit(workers, &other_behind.job);
    workers_submit(workers, &a.job);
    workers_submit(workers, &b.job);
    for (unsigned i = 0; i < 3; i++)
        sem_post(&proceed);
    await(workers, &behind);
    await(workers, &other_behind);
    ck_assert_str_eq(log, "xababxyxy");
    ck_assert_int_eq(behind.result, 0);
    workers_free(workers);
    sem_destroy(&entered);
    sem_destroy(&proceed);
}
END_TEST

START_TEST(a_job_that_hurries_takes_its_turns)
{
    char log[16] = "";
    atomic_uint n_log = 0;
    sem_t entered, proceed;
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    struct workers *workers = start(1);
    struct work hold = make(1), x = make(2), y = make(2), z = make(2), a = make(2);
    hold.entered = &entered;
    hold.proceed = &proceed;
    log_to(&x, 'x', log, &n_log);
    log_to(&y, 'y', log, &n_log);
    log_to(&z, 'z', log, &n_log);
    log_to(&a, 'a', log, &n_log);
    x.job.is_behind = y.job.is_behind = z.job.is_behind = true;
    workers_submit(workers, &hold.job);
    sem_wait(&entered);
    workers_submit(workers, &x.job);
    workers_submit(workers, &y.job);
    workers_submit(workers, &z.job);
    workers_submit(workers, &a.job);
    workers_hurry(workers, &y.job);
    ck_assert(!y.job.is_behind);
    workers_hurry(workers, &y.job); /* twice is no harm, nor is one that was never behind */
    workers_hurry(workers, &a.job);
    sem_post(&proceed);
    await(workers, &z);
    ck_assert_str_eq(log, "ayayxzxz");
    workers_free(workers);
    sem_destroy(&entered);
    sem_destroy(&proceed);
}
END_TEST

/* While a step of it runs: with another one to come, and with none. */
START_TEST(a_job_may_hurry_at_any_time)
{
    char log[16] = "";
    atomic_uint n_log = 0;
    sem_t entered, proceed;
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    struct workers *workers = start(1);
    struct work x = make(3), a = make(2), last = make(1);
    log_to(&x, 'x', log, &n_log);
    log_to(&a, 'a', log, &n_log);
    x.entered = last.entered = &entered;
    x.proceed = last.proceed = &proceed;
    x.job.is_behind = last.job.is_behind = true;
    workers_submit(workers, &x.job);
    sem_wait(&entered);
    workers_submit(workers, &a.job);
    workers_hurry(workers, &x.job);
    for (unsigned i = 0; i < 3; i++)
        sem_post(&proceed);
    await(workers, &x);
    await(workers, &a);
    ck_assert_str_eq(log, "xaxax");

    while (sem_trywait(&entered) == 0) /* those of the second and the third step */
        ;
    workers_submit(workers, &last.job);
    sem_wait(&entered);
    workers_hurry(workers, &last.job);
    sem_post(&proceed);
    await(workers, &last);
    workers_hurry(workers, &last.job); /* it is over */
    workers_free(workers);
    ck_assert_uint_eq(last.n_done, 1);
    ck_assert_uint_eq(last.n_steps, 1);
    sem_destroy(&entered);
    sem_destroy(&proceed);
}
END_TEST

START_TEST(a_job_that_is_behind_is_cancelled_like_others)
{
    sem_t entered, proceed;
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    struct workers *workers = start(1);
    struct work hold = make(1), cancelled = make(2), hurried = make(2), owed = make(2);
    hold.entered = &entered;
    hold.proceed = &proceed;
    cancelled.job.is_behind = hurried.job.is_behind = owed.job.is_behind = true;
    workers_submit(workers, &hold.job);
    sem_wait(&entered);
    workers_submit(workers, &cancelled.job);
    workers_submit(workers, &hurried.job);
    workers_cancel(workers, &cancelled.job);
    workers_cancel(workers, &hurried.job);
    workers_hurry(workers, &hurried.job);
    sem_post(&proceed);
    await(workers, &hurried);
    await(workers, &cancelled);
    ck_assert_int_eq(cancelled.result, -ECANCELED);
    ck_assert_int_eq(hurried.result, -ECANCELED);
    ck_assert_uint_eq(cancelled.n_steps + hurried.n_steps, 0);

    hold.job.step = wait_for_cancellation;
    hold.n_done = 0;
    workers_submit(workers, &hold.job);
    sem_wait(&entered);
    workers_submit(workers, &owed.job);
    workers_free(workers);
    ck_assert_int_eq(owed.result, -ECANCELED);
    ck_assert_uint_eq(owed.n_done, 1);
    ck_assert_uint_eq(owed.n_steps, 0);
    sem_destroy(&entered);
    sem_destroy(&proceed);
}
END_TEST

/* Both steps wait for each other: this ends only if two threads run one job at once. */
START_TEST(steps_of_one_job_run_at_once)
{
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, 2);
    struct workers *workers = start(2);
    struct work a = make(2);
    a.together = &together;
    workers_submit(workers, &a.job);
    await(workers, &a);
    workers_free(workers);
    pthread_barrier_destroy(&together);
}
END_TEST

START_TEST(the_first_error_ends_a_job)
{
    struct workers *workers = start(1);
    struct work a = make(10);
    a.fail_at = 3;
    workers_submit(workers, &a.job);
    await(workers, &a);
    ck_assert_int_eq(a.result, -EIO);
    ck_assert_uint_eq(a.n_steps, 4);

    struct work last = make(2);
    last.fail_at = 1;
    workers_submit(workers, &last.job);
    await(workers, &last);
    ck_assert_int_eq(last.result, -EIO);
    workers_free(workers);
    ck_assert_uint_eq(a.n_done, 1);
}
END_TEST

START_TEST(cancel_starts_no_further_step)
{
    sem_t entered, proceed;
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    struct workers *workers = start(1);
    struct work a = make(5), queued = make(3);
    a.entered = &entered;
    a.proceed = &proceed;
    workers_submit(workers, &a.job);
    workers_submit(workers, &queued.job);
    sem_wait(&entered);
    ck_assert(!job_cancelled(&a.job));
    workers_cancel(workers, &a.job);
    workers_cancel(workers, &queued.job);
    ck_assert(job_cancelled(&a.job));
    ck_assert_uint_eq(a.n_done, 0);
    sem_post(&proceed);
    await(workers, &a);
    await(workers, &queued);
    ck_assert_int_eq(a.result, -ECANCELED);
    ck_assert_uint_eq(a.n_steps, 1);
    ck_assert_int_eq(queued.result, -ECANCELED);
    ck_assert_uint_eq(queued.n_steps, 0);

    /* Too late: its last step is running. */
    struct work late = make(1);
    late.entered = &entered;
    late.proceed = &proceed;
    workers_submit(workers, &late.job);
    sem_wait(&entered);
    workers_cancel(workers, &late.job);
    sem_post(&proceed);
    await(workers, &late);
    ck_assert_int_eq(late.result, 0);
    workers_free(workers);
    sem_destroy(&entered);
    sem_destroy(&proceed);
}
END_TEST

START_TEST(done_runs_in_dispatch_only_and_may_submit)
{
    struct workers *workers = start(2);
    struct work a = make(1), b = make(1);
    a.resubmit = workers;
    a.follow_up = &b;
    workers_submit(workers, &a.job);
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    ck_assert_int_eq(poll(&ready, 1, -1), 1);
    ck_assert_uint_eq(a.n_done, 0);
    workers_dispatch(workers);
    ck_assert_uint_eq(a.n_done, 1);
    await(workers, &b);
    ck_assert_int_eq(b.result, 0);
    ck_assert_int_eq(poll(&ready, 1, 0), 0);
    workers_dispatch(workers); /* nothing to do, and does not block */
    workers_free(workers);
}
END_TEST

static void free_owner(struct job *job, int error)
{
    struct work *work = (struct work *)job;
    ck_assert_int_eq(error, 0);
    work->follow_up->n_done++;
    free(work);
}

START_TEST(done_may_free_its_owner)
{
    enum { N_OWNERS = 10 };
    struct workers *workers = start(2);
    struct work counter = make(1);
    for (unsigned i = 0; i < N_OWNERS; i++) {
        struct work *work = malloc(sizeof *work);
        *work = make(i + 1);
        work->job.done = free_owner;
        work->follow_up = &counter;
        workers_submit(workers, &work->job);
    }
    for (unsigned n = 0; n < N_OWNERS; n += counter.n_done) {
        counter.n_done = 0;
        await(workers, &counter);
    }
    workers_free(workers);
}
END_TEST

START_TEST(free_cancels_and_pays_what_is_owed)
{
    sem_t entered;
    sem_init(&entered, 0, 0);
    struct workers *workers = start(1);
    struct work finished = make(1), running = make(2), alone = make(1), queued = make(7),
                after = make(1);
    workers_submit(workers, &finished.job);
    running.entered = &entered;
    running.job.step = wait_for_cancellation;
    workers_submit(workers, &running.job);
    workers_submit(workers, &queued.job);
    sem_wait(&entered);
    queued.resubmit = workers;
    queued.follow_up = &after;
    workers_free(workers);
    ck_assert_int_eq(finished.result, 0);
    ck_assert_int_eq(running.result, -ECANCELED);
    ck_assert_uint_eq(running.n_steps, 1);
    ck_assert_int_eq(queued.result, -ECANCELED);
    ck_assert_int_eq(after.result, -ECANCELED);
    ck_assert_uint_eq(after.n_steps, 0);
    ck_assert_uint_eq(finished.n_done + running.n_done + queued.n_done + after.n_done, 4);

    /* A job whose only step is running is told as well. */
    workers = start(1);
    alone.entered = &entered;
    alone.job.step = wait_for_cancellation;
    workers_submit(workers, &alone.job);
    sem_wait(&entered);
    workers_free(workers);
    ck_assert_uint_eq(alone.n_done, 1);
    sem_destroy(&entered);
}
END_TEST

static int look_around(struct job *job, uint64_t index)
{
    (void)job;
    (void)index;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGCHLD) || !sigismember(&mask, SIGHUP))
        return -EPERM;
    return getpriority(PRIO_PROCESS, (id_t)gettid()) >= 10 ? 0 : -ERANGE;
}

START_TEST(threads_are_nice_and_take_no_signals)
{
    sigset_t before, after;
    int nice_before = getpriority(PRIO_PROCESS, 0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    struct workers *workers = start(2);
    struct work a = make(8);
    a.job.step = look_around;
    workers_submit(workers, &a.job);
    await(workers, &a);
    ck_assert_int_eq(a.result, 0);
    workers_free(workers);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_int_eq(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
    ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), nice_before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("workers");
    TCase *tcase = tcase_create("workers");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, refuses_a_wrong_number_of_threads);
    tcase_add_test(tcase, runs_every_step_once);
    tcase_add_test(tcase, jobs_take_turns);
    tcase_add_test(tcase, a_job_that_is_behind_waits_for_the_others);
    tcase_add_test(tcase, a_job_that_hurries_takes_its_turns);
    tcase_add_test(tcase, a_job_may_hurry_at_any_time);
    tcase_add_test(tcase, a_job_that_is_behind_is_cancelled_like_others);
    tcase_add_test(tcase, steps_of_one_job_run_at_once);
    tcase_add_test(tcase, the_first_error_ends_a_job);
    tcase_add_test(tcase, cancel_starts_no_further_step);
    tcase_add_test(tcase, done_runs_in_dispatch_only_and_may_submit);
    tcase_add_test(tcase, done_may_free_its_owner);
    tcase_add_test(tcase, free_cancels_and_pays_what_is_owed);
    tcase_add_test(tcase, threads_are_nice_and_take_no_signals);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
