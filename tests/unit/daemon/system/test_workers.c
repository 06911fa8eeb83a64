/* The pool: order, concurrency, errors, cancellation, and the obligations of workers_free. */
#include "common/thread_priority.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/workers_fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { STEPS_MAX = 100000 };

START_TEST(refuses_a_wrong_number_of_threads)
{
    ck_assert_int_eq(workers_new(0, false, &workers), -EINVAL);
    ck_assert_int_eq(workers_new(65, false, &workers), -EINVAL);
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

static void *try_to_be_prompt(void *context)
{
    (void)context;
    return thread_be_prompt() ? &entered : NULL;
}

/* They are not nice where the system allows them to be prompt; otherwise in the background. */
static int find_policy(struct job *job, uint64_t index)
{
    (void)job;
    (void)index;
    return -(100 * sched_getscheduler(0) + getpriority(PRIO_PROCESS, (id_t)gettid()) + 20);
}

START_TEST(threads_of_a_prompt_pool)
{
    pthread_t thread;
    void *is_possible;

    ck_assert_int_eq(pthread_create(&thread, NULL, try_to_be_prompt, NULL), 0);
    pthread_join(thread, &is_possible);
    ck_assert_int_eq(workers_new(1, true, &workers), 0);
    struct work a = make(1);
    a.job.step = find_policy;
    submit(&a);
    await(&a);
    if (is_possible)
        ck_assert_int_eq(-a.result, 100 * SCHED_OTHER + getpriority(PRIO_PROCESS, 0) + 20);
    else
        ck_assert_int_ge(-a.result, 100 * SCHED_BATCH + THREAD_BACKGROUND_NICE + 20);
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
    tcase_add_test(tcase, steps_of_one_job_run_at_once);
    tcase_add_test(tcase, the_first_error_ends_a_job);
    tcase_add_test(tcase, cancel_starts_no_further_step);
    tcase_add_test(tcase, done_runs_in_dispatch_only_and_may_submit);
    tcase_add_test(tcase, done_may_free_its_owner);
    tcase_add_test(tcase, free_cancels_and_pays_what_is_owed);
    tcase_add_test(tcase, threads_are_nice_and_take_no_signals);
    tcase_add_test(tcase, threads_of_a_prompt_pool);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
