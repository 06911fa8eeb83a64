/* The pool when a step does not return. Nothing sleeps: the test says what time it is. */
#include "daemon/system/workers.h"

#include "common/clock.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <string.h>

struct work {
    struct job job;
    sem_t entered, proceed; /* posted and awaited by the steps of a job that waits */
    bool moves;             /* a step goes on once before it ends */
    bool is_untold;         /* the job has no `abandoned` */
    char mark;
    char *log;
    unsigned n_done, n_abandoned;
    int result;
};

static struct workers *workers;
static const int file, other_file;

static int step(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    (void)index;
    if (work->log) {
        size_t length = strlen(work->log);
        work->log[length] = work->mark;
        work->log[length + 1] = '\0';
    }
    return 0;
}

static int step_that_waits(struct job *job, uint64_t index)
{
    struct work *work = (struct work *)job;
    (void)index;
    for (int i = 0; i < 1 + work->moves; i++) {
        worker_reads();
        sem_post(&work->entered);
        sem_wait(&work->proceed);
    }
    return 0;
}

static void done(struct job *job, int error)
{
    struct work *work = (struct work *)job;
    work->n_done++;
    work->result = error;
}

static void abandoned(struct job *job)
{
    ((struct work *)job)->n_abandoned++;
}

static void submit(struct work *work, const void *reads, uid_t uid)
{
    work->job = (struct job){.n_steps = 1,
                             .step = work->job.step ? work->job.step : step,
                             .done = done,
                             .abandoned = work->is_untold ? NULL : abandoned,
                             .file = reads,
                             .uid = uid};
    workers_submit(workers, &work->job);
}

/* A job whose step is running and waits when this returns. */
static void submit_that_waits(struct work *work, const void *reads)
{
    sem_init(&work->entered, 0, 0);
    sem_init(&work->proceed, 0, 0);
    work->job.step = step_that_waits;
    submit(work, reads, 0);
    sem_wait(&work->entered);
}

static void await(const struct work *work)
{
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    while (work->n_done == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(workers);
    }
}

static unsigned n_threads(void)
{
    unsigned n = 0;
    DIR *tasks = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(tasks);
    for (const struct dirent *entry; (entry = readdir(tasks));)
        n += entry->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static void set_up(void)
{
    ck_assert_int_eq(workers_new(1, false, &workers), 0);
}

static void tear_down(void)
{
    workers = workers_free(workers);
}

START_TEST(a_spare_takes_the_place_of_a_stalled_thread)
{
    struct work stalled = {0}, next = {0};
    unsigned n_before = n_threads();
    submit_that_waits(&stalled, &file);
    submit(&next, NULL, 0);
    uint64_t now_usec = clock_monotonic_usec();

    workers_look(workers, now_usec + WORKERS_STALL_USEC / 2);
    ck_assert_uint_eq(n_threads(), n_before);
    workers_look(workers, now_usec + WORKERS_STALL_USEC);
    await(&next);
    ck_assert_uint_eq(stalled.n_done + stalled.n_abandoned, 0);

    sem_post(&stalled.proceed);
    await(&stalled);
    ck_assert_int_eq(stalled.result, 0);
    while (n_threads() > n_before) /* one is too many now */
        workers_look(workers, clock_monotonic_usec());
    ck_assert_uint_eq(n_threads(), n_before);
}
END_TEST

START_TEST(a_step_that_moves_is_not_stalled)
{
    struct work moving = {.moves = true};
    unsigned n_before = n_threads();
    submit_that_waits(&moving, &file);
    uint64_t began_usec = clock_monotonic_usec();
    while (clock_monotonic_usec() < began_usec + 10)
        ;
    sem_post(&moving.proceed);
    sem_wait(&moving.entered);
    workers_look(workers, began_usec + WORKERS_STALL_USEC);
    ck_assert_uint_eq(n_threads(), n_before);
    sem_post(&moving.proceed);
    await(&moving);
}
END_TEST

/* What waits for the stalled job's file stays held while another job goes on. */
static void expect_held(struct work *stalled, const struct work *same)
{
    struct work other = {0};
    submit(&other, &other_file, 0);
    await(&other);
    ck_assert_uint_eq(same->n_done, 0);
    sem_post(&stalled->proceed);
    await(same);
    await(stalled);
    ck_assert_int_eq(same->result, 0);
}

START_TEST(one_file_stalls_one_thread)
{
    struct work stalled = {0}, same = {0};
    submit_that_waits(&stalled, &file);
    submit(&same, &file, 0);
    workers_look(workers, clock_monotonic_usec() + WORKERS_STALL_USEC);
    expect_held(&stalled, &same);
}
END_TEST

START_TEST(a_cancelled_job_does_not_wait_for_a_stalled_one)
{
    struct work stalled = {0}, same = {0};
    submit_that_waits(&stalled, &file);
    submit(&same, &file, 0);
    workers_cancel(workers, &same.job);
    workers_look(workers, clock_monotonic_usec() + WORKERS_STALL_USEC);
    await(&same);
    ck_assert_int_eq(same.result, -ECANCELED);
    sem_post(&stalled.proceed);
    await(&stalled);
}
END_TEST

/* Nobody is told, so what waits for the same file stays held, and takes no more threads. */
START_TEST(what_nobody_is_told_of_is_not_abandoned)
{
    struct work stalled = {.is_untold = true}, same = {.is_untold = true};
    submit_that_waits(&stalled, &file);
    submit(&same, &file, 0);
    uint64_t now_usec = clock_monotonic_usec();
    workers_look(workers, now_usec + WORKERS_STALL_USEC);
    workers_look(workers, now_usec + WORKERS_ABANDON_USEC);
    expect_held(&stalled, &same);
}
END_TEST

START_TEST(what_stands_still_is_abandoned_with_what_waits_for_it)
{
    struct work stalled = {0}, same = {0}, other = {0};
    submit_that_waits(&stalled, &file);
    submit(&same, &file, 0);
    uint64_t now_usec = clock_monotonic_usec();
    workers_look(workers, now_usec + WORKERS_STALL_USEC);
    ck_assert_uint_eq(stalled.n_abandoned + same.n_abandoned, 0);
    for (int i = 0; i < 2; i++) {
        workers_look(workers, now_usec + WORKERS_ABANDON_USEC);
        ck_assert_uint_eq(stalled.n_abandoned, 1);
        ck_assert_uint_eq(same.n_abandoned, 1);
    }
    await(&same); /* its steps run: they know that it was abandoned */
    submit(&other, &other_file, 0);
    await(&other);
    ck_assert_uint_eq(other.n_abandoned + stalled.n_done, 0);
    sem_post(&stalled.proceed);
    await(&stalled);
}
END_TEST

START_TEST(only_so_many_spares_start)
{
    struct work stalled[1 + WORKERS_SPARES_MAX] = {0}, next = {0};
    for (unsigned i = 0; i < 1 + WORKERS_SPARES_MAX; i++) {
        submit_that_waits(&stalled[i], NULL);
        workers_look(workers, clock_monotonic_usec() + WORKERS_STALL_USEC);
    }
    unsigned n = n_threads();
    submit(&next, NULL, 0);
    workers_look(workers, clock_monotonic_usec() + WORKERS_STALL_USEC);
    ck_assert_uint_eq(n_threads(), n);
    for (unsigned i = 0; i < 1 + WORKERS_SPARES_MAX; i++)
        sem_post(&stalled[i].proceed);
    await(&next);
    for (unsigned i = 0; i < 1 + WORKERS_SPARES_MAX; i++)
        await(&stalled[i]);
}
END_TEST

START_TEST(the_end_does_not_wait_for_a_step_that_does_not_return)
{
    struct work stalled = {0}, queued = {0};
    submit_that_waits(&stalled, &file);
    submit(&queued, &file, 0);
    ck_assert_int_eq(workers_end(workers, clock_monotonic_usec() + 1000), -ETIMEDOUT);
    ck_assert_uint_eq(stalled.n_done, 0);
    sem_post(&stalled.proceed);
    ck_assert_int_eq(workers_end(workers, UINT64_MAX), 0);
    ck_assert_uint_eq(stalled.n_done, 1);
    ck_assert_int_eq(queued.result, -ECANCELED);
    workers = NULL;
}
END_TEST

START_TEST(users_take_turns)
{
    char log[16] = "";
    struct work hold = {0}, jobs[6];
    static const struct {
        char mark;
        uid_t uid;
    } order[] = {{'a', 1000}, {'b', 1000}, {'c', 1000}, {'d', 1001}, {'e', 1001}, {'r', 0}};

    submit_that_waits(&hold, NULL);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        jobs[i] = (struct work){.mark = order[i].mark, .log = log};
        submit(&jobs[i], NULL, order[i].uid);
    }
    sem_post(&hold.proceed);
    await(&jobs[2]);
    ck_assert_str_eq(log, "adrbec");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("workers_stall");
    TCase *tcase = tcase_create("workers_stall");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_spare_takes_the_place_of_a_stalled_thread);
    tcase_add_test(tcase, a_step_that_moves_is_not_stalled);
    tcase_add_test(tcase, one_file_stalls_one_thread);
    tcase_add_test(tcase, a_cancelled_job_does_not_wait_for_a_stalled_one);
    tcase_add_test(tcase, what_nobody_is_told_of_is_not_abandoned);
    tcase_add_test(tcase, what_stands_still_is_abandoned_with_what_waits_for_it);
    tcase_add_test(tcase, only_so_many_spares_start);
    tcase_add_test(tcase, the_end_does_not_wait_for_a_step_that_does_not_return);
    tcase_add_test(tcase, users_take_turns);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
