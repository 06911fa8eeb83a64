/* Every allocation of a request fails once, under each policy: the request is then refused with
 * -ENOMEM and has changed nothing, and the next one works. */
#include "tests/unit/failing_allocator.h"
#include "tests/unit/policies.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

enum { LAYERS = 6, CAPACITY_PAGES = 8, PASSES = 3 };

struct situation {
    struct fixture fixture;
    struct model *model;
    struct run *runs[2];
};

/* Two runs of one model that is larger than the arena, half a pass apart. */
static void arrange(struct situation *situation, const struct policy *policy)
{
    setup(&situation->fixture, CAPACITY_PAGES * PAGE, policy);
    scheduler_set_observer(situation->fixture.scheduler, NULL,
                           NULL); /* Check's assertions allocate */
    situation->model = ADD_MODEL(&situation->fixture, "m", 2, 1, 3, 2, 1, 2);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(scheduler_begin_run(situation->fixture.scheduler, situation->model,
                                             &situation->runs[i]),
                         0);
        scheduler_run_start_at(situation->fixture.scheduler, situation->runs[i], 3 * i);
    }
}

static uint64_t resident_pages(const struct situation *situation)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < LAYERS; i++)
        pages += scheduler_layer_pages(situation->fixture.scheduler, &situation->model->layers[i]);
    return pages;
}

/* 0, or the error of a request. Reserved layers are completed. */
static int request(struct situation *situation, struct run *run, uint64_t now_usec)
{
    struct scheduler *scheduler = situation->fixture.scheduler;
    struct verdict verdict;
    may_fail = true;
    int r = scheduler_request(scheduler, run->next, ON_FULL_EVICT, now_usec, &verdict);
    may_fail = false;
    if (r < 0)
        return r;
    bool reserved = verdict.outcome == OUTCOME_RESERVED;
    ck_assert(reserved || verdict.outcome == OUTCOME_HIT);
    verdict_done(&verdict);
    if (reserved)
        scheduler_complete(scheduler, run->next, now_usec);
    return 0;
}

/* Passes of both runs, in turn. The number of requests that failed. */
static unsigned pass_through(struct situation *situation)
{
    unsigned n_failed = 0;
    for (uint64_t step = 0; step < 2 * PASSES * LAYERS; step++) {
        struct run *run = situation->runs[step % 2];
        scheduler_run_leave(situation->fixture.scheduler, run, step);
        uint64_t before = resident_pages(situation);
        int r = request(situation, run, step);
        if (r < 0) {
            ck_assert_int_eq(r, -ENOMEM);
            ck_assert_uint_eq(resident_pages(situation), before);
            n_failed++;
            ck_assert_int_eq(request(situation, run, step), 0);
        }
        ck_assert_int_eq(scheduler_layer_state(situation->fixture.scheduler, run->next),
                         LAYER_RESIDENT);
        ck_assert_uint_eq(resident_pages(situation) + free_pages(&situation->fixture),
                          CAPACITY_PAGES);
        scheduler_run_enter(situation->fixture.scheduler, run, step);
    }
    return n_failed;
}

START_TEST(each_allocation_fails_once)
{
    bool reached_the_end = false;
    for (uint64_t n = 1; !reached_the_end; n++) {
        struct situation situation;
        arrange(&situation, policies[_i]);
        allocations_until_failure = n;
        unsigned n_failed = pass_through(&situation);
        reached_the_end = allocations_until_failure > 0;
        allocations_until_failure = 0;
        ck_assert_uint_eq(n_failed, reached_the_end ? 0 : 1);
        scheduler_free(situation.fixture.scheduler);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler-faults");
    TCase *tcase = tcase_create("scheduler-faults");
    tcase_add_loop_test(tcase, each_allocation_fails_once, 0, (int)count_policies());
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
