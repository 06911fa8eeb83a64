/* The pool: order, concurrency, errors, cancellation, and the obligations of workers_free. Nothing
 * sleeps: semaphores hold the steps, and tests wait for jobs through the pool's descriptor. */
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

static int step(struct job *job, uint64_t index)
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

static void done(struct job *job, int error)
{
    struct work *work = (struct work *)job;
    work->n_done++;
    work->result = error;
    if (work->follow_up)
        workers_submit(workers, &TAKE_PTR(work->follow_up)->job);
}

static struct work make(uint64_t n_steps)
{
    return (struct work){.job = {.n_steps = n_steps, .step = step, .done = done},
                         .fail_at = UINT64_MAX};
}

/* Each step reports that it has begun, and waits until it may continue. */
static struct work make_held(uint64_t n_steps)
{
    struct work work = make(n_steps);
    work.posts = work.waits = true;
    return work;
}

static struct work make_marked(uint64_t n_steps, char mark)
{
    struct work work = make(n_steps);
    work.mark = mark;
    return work;
}

static void set_up(void)
{
    sem_init(&entered, 0, 0);
    sem_init(&proceed, 0, 0);
    memset(marks, 0, sizeof marks);
    n_marks = 0;
}

/* The tests own the jobs: jobs that may still run end here. */
static void stop(void)
{
    workers = workers_free(workers);
}

static void tear_down(void)
{
    stop();
    sem_destroy(&entered);
    sem_destroy(&proceed);
}

static void start(unsigned n_threads)
{
    stop();
    ck_assert_int_eq(workers_new(n_threads, &workers), 0);
}

static void submit(struct work *work)
{
    workers_submit(workers, &work->job);
}

/* Its first step runs. */
static void submit_and_enter(struct work *work)
{
    submit(work);
    sem_wait(&entered);
}

static void await(const struct work *work)
{
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    while (work->n_done == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(workers);
    }
}

START_TEST(refuses_a_wrong_number_of_threads)
{
    ck_assert_int_eq(workers_new(0, &workers), -EINVAL);
    ck_assert_int_eq(workers_new(65, &workers), -EINVAL);
    ck_assert_ptr_null(workers);
    ck_assert_ptr_null(workers_free(NULL));
    start(64);
}
END_TEST

START_TEST(runs_every_step_once)
{
    start(4);
    struct work a = make(STEPS_MAX), b = make(1);
    submit(&a);
    submit(&b);
    await(&a);
    await(&b);
    ck_assert_uint_eq(a.n_steps, STEPS_MAX);
    ck_assert_int_eq(a.result, 0);
    ck_assert_uint_eq(b.n_steps, 1);
    stop();
    ck_assert_uint_eq(a.n_done + b.n_done, 2);
}
END_TEST

START_TEST(jobs_take_turns)
{
    start(1);
    struct work hold = make_held(1), a = make_marked(4, 'a'), b = make_marked(2, 'b');
    submit(&hold);
    submit(&a);
    submit(&b);
    sem_post(&proceed);
    await(&a);
    ck_assert_str_eq(marks, "ababaa");
    stop();
}
END_TEST

static int wait_for_cancellation(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    (void)index;
    sem_post(&entered);
    while (!job_cancelled(job))
        sched_yield();
    atomic_fetch_add(&work->n_steps, 1);
    return 0;
}

START_TEST(a_job_that_is_behind_waits_for_the_others)
{
    start(1);
    struct work behind = make_held(3), other_behind = make_marked(2, 'y'), a = make_marked(2, 'a'),
                b = make_marked(2, 'b');
    behind.mark = 'x';
    behind.job.is_behind = other_behind.job.is_behind = true;
    submit_and_enter(&behind); /* its first step runs, with nothing else to do */
    submit(&other_behind);
    submit(&a);
    submit(&b);
    for (unsigned i = 0; i < 3; i++)
        sem_post(&proceed);
    await(&behind);
    await(&other_behind);
    ck_assert_str_eq(marks, "xababxyxy");
    ck_assert_int_eq(behind.result, 0);
    stop();
}
END_TEST

START_TEST(a_job_that_hurries_takes_its_turns)
{
    start(1);
    struct work hold = make_held(1), x = make_marked(2, 'x'), y = make_marked(2, 'y'),
                z = make_marked(2, 'z'), a = make_marked(2, 'a');
    x.job.is_behind = y.job.is_behind = z.job.is_behind = true;
    submit_and_enter(&hold);
    submit(&x);
    submit(&y);
    submit(&z);
    submit(&a);
    workers_hurry(workers, &y.job);
    ck_assert(!y.job.is_behind);
    workers_hurry(workers, &y.job); /* twice does no harm, nor does a job that was never behind */
    workers_hurry(workers, &a.job);
    sem_post(&proceed);
    await(&z);
    ck_assert_str_eq(marks, "ayayxzxz");
    stop();
}
END_TEST

/* While a step of it runs: with another one to come, and with none. */
START_TEST(a_job_may_hurry_at_any_time)
{
    start(1);
    struct work x = make_held(3), a = make_marked(2, 'a'), last = make_held(1);
    x.mark = 'x';
    x.job.is_behind = last.job.is_behind = true;
    submit_and_enter(&x);
    submit(&a);
    workers_hurry(workers, &x.job);
    for (unsigned i = 0; i < 3; i++)
        sem_post(&proceed);
    await(&x);
    await(&a);
    ck_assert_str_eq(marks, "xaxax");

    while (sem_trywait(&entered) == 0) /* those of the second and the third step */
        ;
    submit_and_enter(&last);
    workers_hurry(workers, &last.job);
    sem_post(&proceed);
    await(&last);
    workers_hurry(workers, &last.job); /* it is over */
    stop();
    ck_assert_uint_eq(last.n_done, 1);
    ck_assert_uint_eq(last.n_steps, 1);
}
END_TEST

START_TEST(a_job_that_is_behind_is_cancelled_like_others)
{
    start(1);
    struct work hold = make_held(1), cancelled = make(2), hurried = make(2), owed = make(2);
    cancelled.job.is_behind = hurried.job.is_behind = owed.job.is_behind = true;
    submit_and_enter(&hold);
    submit(&cancelled);
    submit(&hurried);
    workers_cancel(workers, &cancelled.job);
    workers_cancel(workers, &hurried.job);
    workers_hurry(workers, &hurried.job);
    sem_post(&proceed);
    await(&hurried);
    await(&cancelled);
    ck_assert_int_eq(cancelled.result, -ECANCELED);
    ck_assert_int_eq(hurried.result, -ECANCELED);
    ck_assert_uint_eq(cancelled.n_steps + hurried.n_steps, 0);

    hold.job.step = wait_for_cancellation;
    hold.n_done = 0;
    submit_and_enter(&hold);
    submit(&owed);
    stop();
    ck_assert_int_eq(owed.result, -ECANCELED);
    ck_assert_uint_eq(owed.n_done, 1);
    ck_assert_uint_eq(owed.n_steps, 0);
}
END_TEST

/* Both steps wait for each other: this ends only if two threads run one job at once. */
START_TEST(steps_of_one_job_run_at_once)
{
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, 2);
    start(2);
    struct work a = make(2);
    a.together = &together;
    submit(&a);
    await(&a);
    stop();
    pthread_barrier_destroy(&together);
}
END_TEST

START_TEST(the_first_error_ends_a_job)
{
    start(1);
    struct work a = make(10);
    a.fail_at = 3;
    submit(&a);
    await(&a);
    ck_assert_int_eq(a.result, -EIO);
    ck_assert_uint_eq(a.n_steps, 4);

    struct work last = make(2);
    last.fail_at = 1;
    submit(&last);
    await(&last);
    ck_assert_int_eq(last.result, -EIO);
    stop();
    ck_assert_uint_eq(a.n_done, 1);
}
END_TEST

START_TEST(cancel_starts_no_further_step)
{
    start(1);
    struct work a = make_held(5), queued = make(3);
    submit_and_enter(&a);
    submit(&queued);
    ck_assert(!job_cancelled(&a.job));
    workers_cancel(workers, &a.job);
    workers_cancel(workers, &queued.job);
    ck_assert(job_cancelled(&a.job));
    ck_assert_uint_eq(a.n_done, 0);
    sem_post(&proceed);
    await(&a);
    await(&queued);
    ck_assert_int_eq(a.result, -ECANCELED);
    ck_assert_uint_eq(a.n_steps, 1);
    ck_assert_int_eq(queued.result, -ECANCELED);
    ck_assert_uint_eq(queued.n_steps, 0);

    /* Too late: its last step is running. */
    struct work late = make_held(1);
    submit_and_enter(&late);
    workers_cancel(workers, &late.job);
    sem_post(&proceed);
    await(&late);
    ck_assert_int_eq(late.result, 0);
    stop();
}
END_TEST

START_TEST(done_runs_in_dispatch_only_and_may_submit)
{
    start(2);
    struct work a = make(1), b = make(1);
    a.follow_up = &b;
    submit(&a);
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    ck_assert_int_eq(poll(&ready, 1, -1), 1);
    ck_assert_uint_eq(a.n_done, 0);
    workers_dispatch(workers);
    ck_assert_uint_eq(a.n_done, 1);
    await(&b);
    ck_assert_int_eq(b.result, 0);
    ck_assert_int_eq(poll(&ready, 1, 0), 0);
    workers_dispatch(workers); /* nothing to do, and does not block */
    stop();
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
    start(2);
    struct work counter = make(1);
    for (unsigned i = 0; i < N_OWNERS; i++) {
        struct work *work = malloc(sizeof *work);
        *work = make(i + 1);
        work->job.done = free_owner;
        work->follow_up = &counter;
        submit(work);
    }
    for (unsigned n = 0; n < N_OWNERS; n += counter.n_done) {
        counter.n_done = 0;
        await(&counter);
    }
    stop();
}
END_TEST

START_TEST(free_cancels_and_pays_what_is_owed)
{
    start(1);
    struct work finished = make(1), running = make(2), alone = make(1), queued = make(7),
                after = make(1);
    submit(&finished);
    running.job.step = wait_for_cancellation;
    submit_and_enter(&running);
    submit(&queued);
    queued.follow_up = &after;
    stop();
    ck_assert_int_eq(finished.result, 0);
    ck_assert_int_eq(running.result, -ECANCELED);
    ck_assert_uint_eq(running.n_steps, 1);
    ck_assert_int_eq(queued.result, -ECANCELED);
    ck_assert_int_eq(after.result, -ECANCELED);
    ck_assert_uint_eq(after.n_steps, 0);
    ck_assert_uint_eq(finished.n_done + running.n_done + queued.n_done + after.n_done, 4);

    /* A job whose only step is running is also cancelled. */
    start(1);
    alone.job.step = wait_for_cancellation;
    submit_and_enter(&alone);
    stop();
    ck_assert_uint_eq(alone.n_done, 1);
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
    start(2);
    struct work a = make(8);
    a.job.step = look_around;
    submit(&a);
    await(&a);
    ck_assert_int_eq(a.result, 0);
    stop();
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
    tcase_add_checked_fixture(tcase, set_up, tear_down);
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
