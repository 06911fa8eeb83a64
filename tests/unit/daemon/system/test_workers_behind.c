/* The pool's jobs that are behind: they wait for the others, may hurry at any time, and are
 * cancelled like others. */
#include "tests/unit/run_suite.h"
#include "tests/unit/workers_fixture.h"

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

int main(void)
{
    Suite *suite = suite_create("workers_behind");
    TCase *tcase = tcase_create("workers_behind");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_job_that_is_behind_waits_for_the_others);
    tcase_add_test(tcase, a_job_that_hurries_takes_its_turns);
    tcase_add_test(tcase, a_job_may_hurry_at_any_time);
    tcase_add_test(tcase, a_job_that_is_behind_is_cancelled_like_others);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
