/* Runs in the scheduler: how they go through their model, share it, and are copied. test_read_ahead
 * has the read-ahead. */
#include "tests/unit/run_suite.h"
#include "tests/unit/runs_fixture.h"

/* The model's reader sums up its layers, so that a run of many layers begins at once. */
START_TEST(test_sums_do_not_wait_for_a_run)
{
    setup(&fixture, 9 * PAGE, &policy_next_use);
    model = ADD_MODEL(&fixture, "m", 1, 2, 3);
    ck_assert_uint_eq(model->begins_bytes[0], 0);
    ck_assert_uint_eq(model->begins_bytes[2], 3 * PAGE);
}
END_TEST

START_TEST(test_goes_round)
{
    BEGIN(9, 1, 2, 3);
    struct run *other = begin(&fixture, model);
    ck_assert_uint_eq(model->n_runs, 2);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 2);

    for (uint32_t i = 0; i < 7; i++) {
        ck_assert_ptr_eq(run->next, &model->layers[i % 3]);
        ck_assert_uint_eq(run->n_passes, i / 3);
        scheduler_run_enter(fixture.scheduler, run, 1);
    }
    ck_assert_ptr_eq(other->next, &model->layers[0]);
    ck_assert_uint_eq(other->n_passes, 0);

    ck_assert_ptr_null(scheduler_end_run(fixture.scheduler, run));
    scheduler_end_run(fixture.scheduler, other);
    ck_assert_ptr_null(scheduler_end_run(fixture.scheduler, NULL));
    ck_assert_uint_eq(model->n_runs, 0);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 0);
}
END_TEST

START_TEST(test_a_model_of_one_layer)
{
    BEGIN(2, 2);
    plan(&fixture, model, "-", UINT32_MAX, 2);
    for (uint64_t i = 1; i < 4; i++) {
        ck_assert_int_eq(enter(&fixture, run), i == 1 ? OUTCOME_RESERVED : OUTCOME_HIT);
        ck_assert_uint_eq(run->n_passes, i);
        ck_assert_int_eq(read_ahead(&fixture, run), -1);
        leave(&fixture, run, &model->layers[0]);
    }
}
END_TEST

START_TEST(test_compute_time)
{
    BEGIN(9, 1, 1);
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
}
END_TEST

/* A pass that begins in the middle takes less time, so it does not count as a measurement of a
 * pass. */
START_TEST(test_compute_time_from_the_middle)
{
    BEGIN(9, 1, 1, 1);
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
}
END_TEST

START_TEST(test_limit)
{
    setup(&fixture, PAGE, &policy_next_use);
    struct model *models[] = {ADD_MODEL(&fixture, "a", 1), ADD_MODEL(&fixture, "b", 1)};
    struct run *one_more = NULL;
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
}
END_TEST

START_TEST(test_a_model_with_runs_stays)
{
    BEGIN(1, 1);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), -EBUSY);
    scheduler_end_run(fixture.scheduler, run);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), 0);
}
END_TEST

/* A run and its copy continue in the same way. */
START_TEST(test_a_copy_goes_on_alike)
{
    BEGIN(4, 1, 2, 1, 1, 2, 1);
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
    /* Another run in the copy; the copy's first run only affects its decisions. */
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
}
END_TEST

/* If two layers are used equally late, the copy evicts the same one. */
START_TEST(test_a_copy_chooses_alike)
{
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
}
END_TEST

/* The second of two runs over one model uses the layer that the first has read, and the layer
 * counts as read ahead only once. */
START_TEST(test_two_runs_share)
{
    BEGIN(3, 1, 1, 1, 1, 1);
    struct run *other = begin(&fixture, model);
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
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runs");
    TCase *tcase = tcase_create("runs");
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, test_sums_do_not_wait_for_a_run);
    tcase_add_test(tcase, test_goes_round);
    tcase_add_test(tcase, test_a_model_of_one_layer);
    tcase_add_test(tcase, test_compute_time);
    tcase_add_loop_test(tcase, test_compute_time_from_the_middle, 0, 3);
    tcase_add_test(tcase, test_limit);
    tcase_add_test(tcase, test_a_model_with_runs_stays);
    tcase_add_test(tcase, test_a_copy_goes_on_alike);
    tcase_add_test(tcase, test_a_copy_chooses_alike);
    tcase_add_test(tcase, test_two_runs_share);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
