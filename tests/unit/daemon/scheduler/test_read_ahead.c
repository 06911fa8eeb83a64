/* Layers that are read ahead for runs, the layers that are evicted for them, and how they are
 * counted. */
#include "tests/unit/run_suite.h"
#include "tests/unit/runs_fixture.h"
#include "tests/unit/set_run_plan.h"

START_TEST(test_reads_the_next_missing_layer)
{
    BEGIN(8, 1, 1, 1, 1, 1);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_RESERVED);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* without a plan, nothing */

    load(&fixture, &model->layers[1], 0);
    plan(&fixture, model, "-----", 1, 1);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* 2 is too far away */
    plan(&fixture, model, "-----", 2, 1);
    scheduler_set_policy(fixture.scheduler, &policy_lru);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    scheduler_set_policy(fixture.scheduler, &policy_next_use);
    ck_assert_int_eq(read_ahead(&fixture, run), 2);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* one at a time, being read ... */
    scheduler_complete(fixture.scheduler, &model->layers[2], 1);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* ... or waiting to be used */
    plan(&fixture, model, "-----", UINT32_MAX, 1);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[0]);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[1]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT); /* 2 is used */
    ck_assert_int_eq(read_ahead(&fixture, run), 3);
    scheduler_complete(fixture.scheduler, &model->layers[3], 1);
    leave(&fixture, run, &model->layers[2]);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), 4);
    scheduler_complete(fixture.scheduler, &model->layers[4], 1);
    leave(&fixture, run, &model->layers[3]);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* nothing is missing */
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[1]), 0);
    ck_assert_int_eq(read_ahead(&fixture, run), 1); /* in the next pass */
    scheduler_complete(fixture.scheduler, &model->layers[1], 1);
}
END_TEST

/* Of a layer that somebody will request, under any policy. It is no use of the layer. */
START_TEST(test_one_layer)
{
    BEGIN(4, 1, 1, 1, 4);
    struct scheduler *scheduler = fixture.scheduler;
    struct layer *layers = model->layers;
    struct scheduler_stats stats;
    struct verdict verdict;
    (void)run;

    scheduler_set_policy(scheduler, &policy_lru);
    ck_assert_int_eq(scheduler_read_layer_ahead(scheduler, &layers[0]), 1);
    assert_state(&fixture, &layers[0], LAYER_LOADING);
    ck_assert_int_eq(scheduler_read_layer_ahead(scheduler, &layers[0]), 0); /* it is being read */
    scheduler_complete(scheduler, &layers[0], 1);
    ck_assert_int_eq(scheduler_read_layer_ahead(scheduler, &layers[0]), 0);
    ck_assert_int_eq(scheduler_request(scheduler, &layers[0], ON_FULL_EVICT, 1, &verdict), 0);
    ck_assert(verdict.outcome == OUTCOME_HIT && verdict.ahead);
    scheduler_get_stats(scheduler, &stats);
    ck_assert_uint_eq(stats.misses, 1);
    ck_assert_uint_eq(stats.hits, 0);

    /* If it fails, the next load of it is an ordinary one. */
    ck_assert_int_eq(scheduler_read_layer_ahead(scheduler, &layers[1]), 1);
    scheduler_abandon(scheduler, &layers[1]);
    ck_assert_int_eq(layers[1].ahead, 0);

    /* It evicts, but nothing if that does not suffice. */
    load(&fixture, &layers[1], 2);
    load(&fixture, &layers[2], 3);
    scheduler_pin(scheduler, &layers[2]);
    ck_assert_int_eq(scheduler_read_layer_ahead(scheduler, &layers[3]), 0);
    assert_state(&fixture, &layers[0], LAYER_RESIDENT);
    scheduler_unpin(scheduler, &layers[2]);
    scheduler_set_policy(scheduler, &policy_flush_all);
    ck_assert_int_eq(scheduler_read_layer_ahead(scheduler, &layers[3]), 1);
    for (int i = 0; i < 3; i++)
        assert_state(&fixture, &layers[i], LAYER_ABSENT);
}
END_TEST

START_TEST(test_two_deep)
{
    BEGIN(8, 1, 1, 1, 1, 1, 1);
    plan(&fixture, model, "------", UINT32_MAX, 2);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), 1);
    ck_assert_int_eq(read_ahead(&fixture, run), 2); /* while 1 is being read */
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    scheduler_complete(fixture.scheduler, &model->layers[1], 1);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    scheduler_complete(fixture.scheduler, &model->layers[2], 1);
    leave(&fixture, run, &model->layers[0]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT);
    ck_assert_int_eq(read_ahead(&fixture, run), 3);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    scheduler_complete(fixture.scheduler, &model->layers[3], 1);
}
END_TEST

/* A layer that was read ahead before, and is read ahead again, takes one of the two slots. */
START_TEST(test_two_deep_and_once_more)
{
    BEGIN(8, 1, 1, 1);
    plan(&fixture, model, "---", UINT32_MAX, 2);
    for (unsigned pass = 0; pass < 3; pass++) {
        enter(&fixture, run);
        ck_assert_int_eq(read_ahead(&fixture, run), 1);
        ck_assert_int_eq(read_ahead(&fixture, run), 2);
        scheduler_complete(fixture.scheduler, &model->layers[1], 1);
        scheduler_complete(fixture.scheduler, &model->layers[2], 1);
        for (uint32_t i = 0; i < 3; i++) {
            leave(&fixture, run, &model->layers[i]);
            if (i < 2)
                ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT);
        }
        /* The one that was read second is now read first. */
        ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[1]), 0);
        ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[2]), 0);
        enter(&fixture, run);
        load(&fixture, &model->layers[1], 1);
        ck_assert_int_eq(read_ahead(&fixture, run), 2);
        ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[1]), 0);
        ck_assert_int_eq(read_ahead(&fixture, run), 1);
        ck_assert_int_eq(read_ahead(&fixture, run), -1);
        scheduler_complete(fixture.scheduler, &model->layers[1], 1);
        scheduler_complete(fixture.scheduler, &model->layers[2], 1);
        leave(&fixture, run, &model->layers[0]);
        for (uint32_t i = 1; i < 3; i++) {
            enter(&fixture, run);
            leave(&fixture, run, &model->layers[i]);
        }
        ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    }
}
END_TEST

START_TEST(test_takes_only_what_is_used_later)
{
    BEGIN(4, 1, 1, 1, 1, 2);
    for (uint32_t i = 0; i < 4; i++)
        load(&fixture, &model->layers[i], i);
    plan(&fixture, model, "-----", UINT32_MAX, 1);
    enter(&fixture, run);
    /* 4 is the next missing layer; all resident layers are used sooner, and 0 is held. */
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[0]);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* 0 is one page */
    leave(&fixture, run, &model->layers[1]);
    plan(&fixture, model, "k----", UINT32_MAX, 1);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* now it is kept */
    plan(&fixture, model, "-----", UINT32_MAX, 1);
    fixture.log[0] = '\0';
    ck_assert_int_eq(read_ahead(&fixture, run), 4);
    assert_log(&fixture, "e l1; e l0; r l4; ");
    ck_assert_uint_eq(stats_of(&fixture).evictions, 2);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_MUST_UNLOAD], 1);
    scheduler_complete(fixture.scheduler, &model->layers[4], 1);
}
END_TEST

/* Two passes take turns. Layer 0 is the lowest bit. */
START_TEST(test_schedule)
{
    static const bool keep[4];
    static const uint8_t schedule[] = {13, 14, 13, 9, /* then */ 11, 2, 4, 8};
    struct fixture copy = {0};
    BEGIN(3, 1, 1, 1, 1);
    set_run_plan(fixture.scheduler, model,
                 &(struct run_plan){keep, UINT32_MAX, RUN_DEPTH_MAX, schedule, 2});
    enter(&fixture, run);
    for (int index = 2; index <= 3; index++) { /* not 1 */
        ck_assert_int_eq(read_ahead(&fixture, run), index);
        scheduler_complete(fixture.scheduler, &model->layers[index], 1);
    }
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[0]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_RESERVED);
    assert_state(&fixture, &model->layers[0], LAYER_ABSENT);
    leave(&fixture, run, &model->layers[1]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT);
    /* Layer 1 is evicted, although it is used sooner than 3. */
    fixture.log[0] = '\0';
    ck_assert_int_eq(read_ahead(&fixture, run), 0);
    assert_log(&fixture, "e l1; r l0; ");
    scheduler_complete(fixture.scheduler, &model->layers[0], 1);
    leave(&fixture, run, &model->layers[2]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[3]);

    /* In the other pass layer 1 is kept and 3 is not: layer 3 would be evicted before its use. */
    scheduler_unload_layer(fixture.scheduler, &model->layers[3]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT);
    ck_assert_int_eq(read_ahead(&fixture, run), 1);
    scheduler_complete(fixture.scheduler, &model->layers[1], 1);
    scheduler_unload_layer(fixture.scheduler, &model->layers[2]);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);

    ck_assert_int_eq(scheduler_clone(fixture.scheduler, &copy.scheduler), 0);
    struct model *copied = scheduler_find_model(copy.scheduler, "m");
    ck_assert_uint_eq(copied->period, 2);
    ck_assert_mem_eq(copied->schedule, schedule, sizeof schedule);
    scheduler_free(copy.scheduler);
    set_run_plan(fixture.scheduler, model, &(struct run_plan){keep, UINT32_MAX, 2, NULL, 0});
    ck_assert_uint_eq(model->period, 0);
    ck_assert_int_eq(read_ahead(&fixture, run), 2);
    scheduler_complete(fixture.scheduler, &model->layers[2], 1);
}
END_TEST

START_TEST(test_what_is_read_ahead_is_a_miss_once)
{
    BEGIN(8, 1, 1, 1);
    plan(&fixture, model, "---", 1, 1);
    enter(&fixture, run);
    ck_assert_uint_eq(stats_of(&fixture).misses, 1);
    ck_assert_int_eq(read_ahead(&fixture, run), 1);
    ck_assert_uint_eq(stats_of(&fixture).misses, 2);

    /* Used while it is being read: nothing more. */
    struct verdict verdict =
        ask(&fixture, &model->layers[1], ON_FULL_ASK, 5, OUTCOME_LOADING, DECISION_LOADED);
    ck_assert(verdict.ahead);
    verdict_done(&verdict);
    ck_assert_int_eq(model->layers[1].ahead, 0);
    ck_assert_uint_eq(stats_of(&fixture).misses, 2);
    /* A second client also requests it: a miss like any other. */
    verdict = ask(&fixture, &model->layers[1], ON_FULL_ASK, 5, OUTCOME_LOADING, DECISION_LOADED);
    ck_assert(!verdict.ahead);
    verdict_done(&verdict);
    ck_assert_uint_eq(stats_of(&fixture).misses, 3);
    scheduler_complete(fixture.scheduler, &model->layers[1], 6);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_LOADED], 2);
    ck_assert_uint_eq(stats_of(&fixture).hits, 0);

    /* Used when it has been read: nothing more, and then a hit. */
    leave(&fixture, run, &model->layers[0]);
    enter(&fixture, run);
    ck_assert_uint_eq(stats_of(&fixture).hits, 1);
    ck_assert_int_eq(read_ahead(&fixture, run), 2);
    scheduler_complete(fixture.scheduler, &model->layers[2], 7);
    verdict = ask(&fixture, &model->layers[2], ON_FULL_ASK, 8, OUTCOME_HIT, DECISION_LOADED);
    ck_assert(verdict.ahead);
    verdict_done(&verdict);
    ck_assert_uint_eq(stats_of(&fixture).hits, 1);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_LOADED], 3 + 1);
    hit(&fixture, &model->layers[2], 9);
    ck_assert_uint_eq(stats_of(&fixture).hits, 2);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_LOADED], 3 + 2);
}
END_TEST

START_TEST(test_what_was_read_ahead_goes_again)
{
    BEGIN(8, 1, 1, 1);
    plan(&fixture, model, "---", 1, 1);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), 1);
    scheduler_abandon(fixture.scheduler, &model->layers[1]);
    ck_assert_int_eq(read_ahead(&fixture, run), 1); /* once more */
    scheduler_complete(fixture.scheduler, &model->layers[1], 1);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[1]), 0);
    ck_assert_int_eq(read_ahead(&fixture, run), 1);
    scheduler_abandon(fixture.scheduler, &model->layers[1]);
    /* Loaded on demand it is a miss, and then a hit. */
    struct verdict verdict =
        ask(&fixture, &model->layers[1], ON_FULL_ASK, 5, OUTCOME_RESERVED, DECISION_LOADED);
    ck_assert(!verdict.ahead);
    verdict_done(&verdict);
    ck_assert_int_eq(model->layers[1].ahead, 0);
    scheduler_complete(fixture.scheduler, &model->layers[1], 6);
    verdict = ask(&fixture, &model->layers[1], ON_FULL_ASK, 7, OUTCOME_HIT, DECISION_LOADED);
    ck_assert(!verdict.ahead);
    verdict_done(&verdict);

    /* A layer is being read ahead while the loader works on it. */
    leave(&fixture, run, &model->layers[0]);
    enter(&fixture, run);
    ck_assert(!run_is_loading(run));
    ck_assert_int_eq(read_ahead(&fixture, run), 2);
    model->layers[2].fill = (struct fill *)(void *)&fixture;
    ck_assert(run_is_loading(run));
    model->layers[2].fill = NULL;
    scheduler_complete(fixture.scheduler, &model->layers[2], 8);
    ck_assert(!run_is_loading(run));

    /* The run is at this layer: the next one is read ahead before this one is resident. */
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[2]), 0);
    leave(&fixture, run, &model->layers[1]);
    verdict = ask(&fixture, &model->layers[2], ON_FULL_EVICT, 9, OUTCOME_RESERVED, DECISION_LOADED);
    verdict_done(&verdict);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[0]), 0);
    model->layers[2].fill = (struct fill *)(void *)&fixture;
    ck_assert(run_is_loading(run));
    ck_assert_int_eq(read_ahead(&fixture, run), 0);
    scheduler_complete(fixture.scheduler, &model->layers[0], 10);
    model->layers[2].fill = NULL;
    scheduler_complete(fixture.scheduler, &model->layers[2], 11);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("read_ahead");
    TCase *tcase = tcase_create("read_ahead");
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, test_reads_the_next_missing_layer);
    tcase_add_test(tcase, test_one_layer);
    tcase_add_test(tcase, test_two_deep);
    tcase_add_test(tcase, test_two_deep_and_once_more);
    tcase_add_test(tcase, test_takes_only_what_is_used_later);
    tcase_add_test(tcase, test_schedule);
    tcase_add_test(tcase, test_what_is_read_ahead_is_a_miss_once);
    tcase_add_test(tcase, test_what_was_read_ahead_goes_again);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
