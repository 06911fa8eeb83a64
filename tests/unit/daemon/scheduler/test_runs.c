/* Runs in the scheduler: how they go through their model, what is read ahead for them, and what
 * counts. */
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static struct run *begin(struct fixture *fixture, struct model *model)
{
    struct run *run = NULL;
    ck_assert_int_eq(scheduler_begin_run(fixture->scheduler, model, &run), 0);
    ck_assert_ptr_eq(run->model, model);
    ck_assert_ptr_eq(run->next, &model->layers[0]);
    return run;
}

/* `keep`: a letter a layer, 'k' for those that are kept. */
static void plan(struct fixture *fixture, struct model *model, const char *keep,
                 uint32_t look_ahead, uint32_t depth)
{
    bool mask[16];
    ck_assert_uint_eq(strlen(keep), model->definition->n_layers);
    for (size_t i = 0; i < strlen(keep); i++)
        mask[i] = keep[i] == 'k';
    scheduler_set_run_plan(fixture->scheduler, model, &(struct run_plan){mask, look_ahead, depth});
}

/* The layer that is read ahead now, -1 for none. */
static int read_ahead(struct fixture *fixture, struct run *run)
{
    struct layer *layer = &run->model->layers[0];
    ck_assert_int_eq(scheduler_read_ahead(fixture->scheduler, run, &layer), 0);
    if (!layer)
        return -1;
    ck_assert_int_eq(layer->ahead, 1);
    assert_state(fixture, layer, LAYER_LOADING);
    return (int)layer->index;
}

/* Makes the run's next layer resident, and holds it. */
static enum outcome enter(struct fixture *fixture, struct run *run)
{
    struct layer *layer = run->next;
    struct verdict verdict;
    ck_assert_int_eq(scheduler_request(fixture->scheduler, layer, ON_FULL_EVICT, 0, &verdict), 0);
    enum outcome outcome = verdict.outcome;
    ck_assert_int_ne(outcome, OUTCOME_REFUSED);
    verdict_done(&verdict);
    if (outcome != OUTCOME_HIT)
        scheduler_complete(fixture->scheduler, layer, 0);
    scheduler_pin(fixture->scheduler, layer);
    scheduler_run_enter(fixture->scheduler, run, 1);
    return outcome;
}

static void leave(struct fixture *fixture, struct run *run, struct layer *layer)
{
    scheduler_unpin(fixture->scheduler, layer);
    scheduler_run_leave(fixture->scheduler, run, 1);
}

START_TEST(test_goes_round)
{
    struct fixture fixture;
    setup(&fixture, 9 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2, 3);
    ck_assert_ptr_null(model->begins_bytes);
    struct run *run = begin(&fixture, model), *other = begin(&fixture, model);
    ck_assert_uint_eq(model->n_runs, 2);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 2);
    ck_assert_uint_eq(model->begins_bytes[0], 0);
    ck_assert_uint_eq(model->begins_bytes[2], 3 * PAGE);

    for (uint32_t i = 0; i < 7; i++) {
        ck_assert_ptr_eq(run->next, &model->layers[i % 3]);
        ck_assert_uint_eq(run->n_passes, i / 3);
        scheduler_run_enter(fixture.scheduler, run, 1);
    }
    ck_assert_ptr_eq(other->next, &model->layers[0]);
    ck_assert_uint_eq(other->n_passes, 0);

    ck_assert_ptr_null(scheduler_end_run(fixture.scheduler, run));
    ck_assert_ptr_nonnull(model->begins_bytes);
    scheduler_end_run(fixture.scheduler, other);
    ck_assert_ptr_null(model->begins_bytes);
    ck_assert_ptr_null(scheduler_end_run(fixture.scheduler, NULL));
    ck_assert_uint_eq(model->n_runs, 0);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_a_model_of_one_layer)
{
    struct fixture fixture;
    setup(&fixture, 2 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 2);
    struct run *run = begin(&fixture, model);
    plan(&fixture, model, "-", UINT32_MAX, 2);
    for (uint64_t i = 1; i < 4; i++) {
        ck_assert_int_eq(enter(&fixture, run), i == 1 ? OUTCOME_RESERVED : OUTCOME_HIT);
        ck_assert_uint_eq(run->n_passes, i);
        ck_assert_int_eq(read_ahead(&fixture, run), -1);
        leave(&fixture, run, &model->layers[0]);
    }
    scheduler_free(fixture.scheduler); /* with a run */
}
END_TEST

START_TEST(test_compute_time)
{
    struct fixture fixture;
    setup(&fixture, 9 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1);
    struct run *run = begin(&fixture, model);
    struct scheduler *scheduler = fixture.scheduler;
    scheduler_run_leave(scheduler, run, 50); /* there is nothing to leave */
    scheduler_run_enter(scheduler, run, 100);
    scheduler_run_leave(scheduler, run, 130);
    scheduler_run_leave(scheduler, run, 1000); /* nor now */
    ck_assert_uint_eq(run->compute_usec, 30);
    ck_assert_uint_eq(model->compute_usec, 0); /* no whole pass yet */
    scheduler_run_enter(scheduler, run, 2000);
    ck_assert_uint_eq(model->compute_usec, 0);
    scheduler_run_leave(scheduler, run, 2007);
    ck_assert_uint_eq(model->compute_usec, 37);
    ck_assert_uint_eq(run->compute_usec, 0);
    scheduler_run_enter(scheduler, run, 3000);
    scheduler_run_leave(scheduler, run, 3001);
    scheduler_run_enter(scheduler, run, 3001);
    scheduler_run_leave(scheduler, run, 3003);
    ck_assert_uint_eq(model->compute_usec, (3 * 37 + 3) / 4); /* lately */
    scheduler_free(scheduler);
}
END_TEST

/* A pass that begins in the middle takes less: it is no measure of a whole one. */
START_TEST(test_compute_time_from_the_middle)
{
    struct fixture fixture;
    setup(&fixture, 9 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1);
    struct run *run = begin(&fixture, model);
    struct scheduler *scheduler = fixture.scheduler;
    uint64_t now_usec = 1;

    scheduler_run_start_at(scheduler, run, (uint32_t)_i);
    ck_assert_ptr_eq(run->next, &model->layers[_i]);
    for (uint32_t step = (uint32_t)_i; step < 6; step++) {
        ck_assert_uint_eq(model->compute_usec, step < 3 || _i > 0 ? 0 : 30);
        scheduler_run_enter(scheduler, run, now_usec);
        scheduler_run_leave(scheduler, run, now_usec += 10);
    }
    ck_assert_uint_eq(run->n_passes, 2);
    ck_assert_uint_eq(model->compute_usec, 30);
    scheduler_free(scheduler);
}
END_TEST

START_TEST(test_limit)
{
    struct fixture fixture;
    setup(&fixture, PAGE, &policy_next_use);
    struct model *models[] = {ADD_MODEL(&fixture, "a", 1), ADD_MODEL(&fixture, "b", 1)};
    struct run *run = NULL, *one_more = NULL;
    int r = 0;
    for (unsigned i = 0; i < SCHEDULER_RUNS_MAX && r == 0; i++)
        r = scheduler_begin_run(fixture.scheduler, models[i % 2], &run);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(scheduler_begin_run(fixture.scheduler, models[0], &one_more), -EMFILE);
    ck_assert_ptr_null(one_more);
    scheduler_end_run(fixture.scheduler, run);
    ck_assert_int_eq(scheduler_begin_run(fixture.scheduler, models[0], &run), 0);
    scheduler_end_runs(fixture.scheduler);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 0);
    ck_assert_uint_eq(models[0]->n_runs + models[1]->n_runs, 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_a_model_with_runs_stays)
{
    struct fixture fixture;
    setup(&fixture, PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1);
    struct run *run = begin(&fixture, model);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), -EBUSY);
    scheduler_end_run(fixture.scheduler, run);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_reads_the_next_missing_layer)
{
    struct fixture fixture;
    setup(&fixture, 8 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 1);
    struct run *run = begin(&fixture, model);
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
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_two_deep)
{
    struct fixture fixture;
    setup(&fixture, 8 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 1, 1);
    struct run *run = begin(&fixture, model);
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
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A layer that was read ahead before, and is so again, takes one place of two. */
START_TEST(test_two_deep_and_once_more)
{
    struct fixture fixture;
    setup(&fixture, 8 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1);
    struct run *run = begin(&fixture, model);
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
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_takes_only_what_is_used_later)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 2);
    struct run *run = begin(&fixture, model);
    for (uint32_t i = 0; i < 4; i++)
        load(&fixture, &model->layers[i], i);
    plan(&fixture, model, "-----", UINT32_MAX, 1);
    enter(&fixture, run);
    /* 4 is next to be missed; all that is there is used sooner, and 0 is held. */
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[0]);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* 0 is one page */
    leave(&fixture, run, &model->layers[1]);
    plan(&fixture, model, "k----", UINT32_MAX, 1);
    enter(&fixture, run);
    ck_assert_int_eq(read_ahead(&fixture, run), -1); /* and now it is kept */
    plan(&fixture, model, "-----", UINT32_MAX, 1);
    fixture.log[0] = '\0';
    ck_assert_int_eq(read_ahead(&fixture, run), 4);
    assert_log(&fixture, "e l1; e l0; r l4; ");
    ck_assert_uint_eq(stats_of(&fixture).evictions, 2);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_MUST_UNLOAD], 1);
    scheduler_complete(fixture.scheduler, &model->layers[4], 1);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* Two passes take turns. Layer 0 is the lowest bit. */
START_TEST(test_schedule)
{
    static const bool keep[4];
    static const uint8_t schedule[] = {13, 14, 13, 9, /* then */ 11, 2, 4, 8};
    struct fixture fixture, copy = {0};
    setup(&fixture, 3 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1);
    struct run *run = begin(&fixture, model);
    scheduler_set_run_plan(fixture.scheduler, model,
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
    /* Layer 1 gives way, although it is used sooner than 3. */
    fixture.log[0] = '\0';
    ck_assert_int_eq(read_ahead(&fixture, run), 0);
    assert_log(&fixture, "e l1; r l0; ");
    scheduler_complete(fixture.scheduler, &model->layers[0], 1);
    leave(&fixture, run, &model->layers[2]);
    ck_assert_int_eq(enter(&fixture, run), OUTCOME_HIT);
    ck_assert_int_eq(read_ahead(&fixture, run), -1);
    leave(&fixture, run, &model->layers[3]);

    /* In the other pass layer 1 is wanted, and 3 only for now: it would be gone before its use. */
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
    scheduler_set_run_plan(fixture.scheduler, model,
                           &(struct run_plan){keep, UINT32_MAX, 2, NULL, 0});
    ck_assert_uint_eq(model->period, 0);
    ck_assert_int_eq(read_ahead(&fixture, run), 2);
    scheduler_complete(fixture.scheduler, &model->layers[2], 1);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_what_is_read_ahead_is_a_miss_once)
{
    struct fixture fixture;
    setup(&fixture, 8 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1);
    struct run *run = begin(&fixture, model);
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
    /* A second client asks as well: a miss like any other. */
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
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_what_was_read_ahead_goes_again)
{
    struct fixture fixture;
    setup(&fixture, 8 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1);
    struct run *run = begin(&fixture, model);
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

    /* Whether one is being read ahead is known by the loader's work on it. */
    leave(&fixture, run, &model->layers[0]);
    enter(&fixture, run);
    ck_assert(!run_is_loading(run));
    ck_assert_int_eq(read_ahead(&fixture, run), 2);
    model->layers[2].fill = (struct fill *)(void *)&fixture;
    ck_assert(run_is_loading(run));
    model->layers[2].fill = NULL;
    scheduler_complete(fixture.scheduler, &model->layers[2], 8);
    ck_assert(!run_is_loading(run));

    /* The run has come to it: what is next is read ahead before it is there. */
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
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A run and its copy go on alike. */
START_TEST(test_a_copy_goes_on_alike)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2, 1, 1, 2, 1);
    struct run *run = begin(&fixture, model);
    plan(&fixture, model, "k-----", UINT32_MAX, 2);
    struct layer *used = NULL;
    for (unsigned i = 0; i < 8; i++) {
        struct layer *layer = run->next;
        enter(&fixture, run);
        if (used)
            leave(&fixture, run, used);
        used = layer;
        for (int index; (index = read_ahead(&fixture, run)) >= 0;)
            scheduler_complete(fixture.scheduler, &model->layers[index], 1);
    }
    leave(&fixture, run, used);

    struct fixture copy = {0};
    ck_assert_int_eq(scheduler_clone(fixture.scheduler, &copy.scheduler), 0);
    struct model *copied = scheduler_find_model(copy.scheduler, "m");
    ck_assert_uint_eq(copied->n_runs, 1);
    ck_assert_uint_eq(stats_of(&copy).n_runs, 1);
    ck_assert_uint_eq(copied->look_ahead, model->look_ahead);
    ck_assert_uint_eq(copied->depth, model->depth);
    /* Another run of the copy's; the copy's first one is only in its decisions. */
    struct run *of_copy = begin(&copy, copied);
    of_copy->next = &copied->layers[run->next->index];
    for (uint32_t i = 0; i < RUN_DEPTH_MAX; i++)
        of_copy->ahead[i] = run->ahead[i] ? &copied->layers[run->ahead[i]->index] : NULL;
    struct run *beside = begin(&fixture, model);
    beside->next = run->next;
    for (unsigned i = 0; i < 12; i++) {
        struct layer *layer = run->next, *layer_of_copy = of_copy->next;
        ck_assert_int_eq(enter(&fixture, run), enter(&copy, of_copy));
        int index;
        do {
            index = read_ahead(&fixture, run);
            ck_assert_int_eq(read_ahead(&copy, of_copy), index);
            if (index >= 0) {
                scheduler_complete(fixture.scheduler, &model->layers[index], 1);
                scheduler_complete(copy.scheduler, &copied->layers[index], 1);
            }
        } while (index >= 0);
        leave(&fixture, run, layer);
        leave(&copy, of_copy, layer_of_copy);
        for (uint32_t j = 0; j < model->definition->n_layers; j++)
            ck_assert_int_eq(scheduler_layer_state(fixture.scheduler, &model->layers[j]),
                             scheduler_layer_state(copy.scheduler, &copied->layers[j]));
    }
    scheduler_free(copy.scheduler);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* Of two layers that are used equally late, the copy evicts the same. */
START_TEST(test_a_copy_chooses_alike)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_next_use);
    struct model *models[] = {ADD_MODEL(&fixture, "a", 1, 1), ADD_MODEL(&fixture, "b", 1, 1),
                              ADD_MODEL(&fixture, "c", 1, 1)};
    struct model *other = ADD_MODEL(&fixture, "other", 1);
    for (unsigned i = 0; i < 3; i++) {
        load_all(&fixture, models[i]);
        begin(&fixture, models[i]);
        begin(&fixture, models[i]);
    }
    begin(&fixture, other);
    _cleanup_(scheduler_freep) struct scheduler *copy = NULL;
    ck_assert_int_eq(scheduler_clone(fixture.scheduler, &copy), 0);
    struct verdict verdict, of_copy;
    ck_assert_int_eq(
        scheduler_request(fixture.scheduler, &other->layers[0], ON_FULL_ASK, 1, &verdict), 0);
    ck_assert_int_eq(scheduler_request(copy, &scheduler_find_model(copy, "other")->layers[0],
                                       ON_FULL_ASK, 1, &of_copy),
                     0);
    ck_assert_uint_eq(verdict.victims.n_layers, 1);
    ck_assert_uint_eq(of_copy.victims.n_layers, 1);
    ck_assert_str_eq(verdict.victims.layers[0]->model->definition->name,
                     of_copy.victims.layers[0]->model->definition->name);
    ck_assert_uint_eq(verdict.victims.layers[0]->index, 1);
    ck_assert_uint_eq(of_copy.victims.layers[0]->index, 1);
    verdict_done(&verdict);
    verdict_done(&of_copy);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* The second of two runs over one model uses what the first has read, and has it counted as read
 * ahead only once. */
START_TEST(test_two_runs_share)
{
    struct fixture fixture;
    setup(&fixture, 3 * PAGE, &policy_next_use);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 1);
    struct run *run = begin(&fixture, model), *other = begin(&fixture, model);
    plan(&fixture, model, "-----", UINT32_MAX, 1);
    for (uint32_t i = 0; i < 20; i++) {
        struct layer *layer = run->next;
        enter(&fixture, run);
        int index = read_ahead(&fixture, run);
        if (index >= 0)
            scheduler_complete(fixture.scheduler, &model->layers[index], 1);
        ck_assert_int_eq(enter(&fixture, other), OUTCOME_HIT);
        index = read_ahead(&fixture, other);
        if (index >= 0)
            scheduler_complete(fixture.scheduler, &model->layers[index], 1);
        leave(&fixture, run, layer);
        leave(&fixture, other, layer);
    }
    ck_assert_uint_eq(stats_of(&fixture).misses * PAGE, stats_of(&fixture).loaded_bytes);
    /* Four passes of five layers by two runs, and one layer each for the fifth. */
    ck_assert_uint_le(stats_of(&fixture).misses, 4 * 5 + 2);
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runs");
    TCase *tcase = tcase_create("runs");
    tcase_add_test(tcase, test_goes_round);
    tcase_add_test(tcase, test_a_model_of_one_layer);
    tcase_add_test(tcase, test_compute_time);
    tcase_add_loop_test(tcase, test_compute_time_from_the_middle, 0, 3);
    tcase_add_test(tcase, test_limit);
    tcase_add_test(tcase, test_a_model_with_runs_stays);
    tcase_add_test(tcase, test_reads_the_next_missing_layer);
    tcase_add_test(tcase, test_two_deep);
    tcase_add_test(tcase, test_two_deep_and_once_more);
    tcase_add_test(tcase, test_takes_only_what_is_used_later);
    tcase_add_test(tcase, test_schedule);
    tcase_add_test(tcase, test_what_is_read_ahead_is_a_miss_once);
    tcase_add_test(tcase, test_what_was_read_ahead_goes_again);
    tcase_add_test(tcase, test_a_copy_goes_on_alike);
    tcase_add_test(tcase, test_a_copy_chooses_alike);
    tcase_add_test(tcase, test_two_runs_share);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
