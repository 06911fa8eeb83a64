/* What the scheduler counts for each model, and which models it says have changed. */
#include "tests/unit/run_suite.h"
#include "tests/unit/runs_fixture.h"

/* The names of the models that have changed since `since`, each after a space. */
static const char *changed(uint64_t since)
{
    static char names[64];
    names[0] = '\0';
    const struct model *found = scheduler_next_changed(fixture.scheduler, since);
    for (uint64_t last = since; found; found = TAILQ_NEXT(found, by_change)) {
        ck_assert_uint_gt(found->changed, last);
        last = found->changed;
        strcat(strcat(names, " "), found->definition->name);
    }
    return names;
}

static uint64_t now(void)
{
    uint64_t last = 0;
    const struct model *found = scheduler_next_changed(fixture.scheduler, 0);
    for (; found; found = TAILQ_NEXT(found, by_change))
        last = found->changed;
    return last;
}

START_TEST(test_counts)
{
    setup(&fixture, 8 * PAGE, &policy_lru);
    model = ADD_MODEL(&fixture, "m", 2, 3);
    struct layer *layer = &model->layers[0];
    const struct model_usage *usage = &model->usage;
    const struct model_stats *stats = &model->stats;

    struct verdict verdict =
        ask(&fixture, layer, ON_FULL_ASK, 5, OUTCOME_RESERVED, DECISION_LOADED);
    verdict_done(&verdict);
    ck_assert_uint_eq(stats->misses, 1);
    ck_assert_uint_eq(usage->loading_bytes, 2 * PAGE);
    ck_assert_uint_eq(stats->loaded_bytes, 0);
    ck_assert_uint_eq(usage->used_usec, 0);
    scheduler_complete(fixture.scheduler, layer, 7);
    ck_assert_uint_eq(usage->loading_bytes, 0);
    ck_assert_uint_eq(stats->loaded_bytes, 2 * PAGE);
    ck_assert_uint_eq(usage->used_usec, 7);
    verdict = ask(&fixture, layer, ON_FULL_ASK, 9, OUTCOME_HIT, DECISION_LOADED);
    ck_assert_uint_eq(stats->hits, 1);
    ck_assert_uint_eq(usage->used_usec, 9);

    scheduler_pin(fixture.scheduler, layer);
    scheduler_pin(fixture.scheduler, layer);
    ck_assert_uint_eq(usage->n_pins, 2);
    ck_assert_uint_eq(usage->pinned_bytes, 2 * PAGE);
    scheduler_unpin(fixture.scheduler, layer);
    ck_assert_uint_eq(usage->n_pins, 1);
    ck_assert_uint_eq(usage->pinned_bytes, 2 * PAGE);
    scheduler_unpin(fixture.scheduler, layer);
    ck_assert_uint_eq(usage->n_pins, 0);
    ck_assert_uint_eq(usage->pinned_bytes, 0);

    verdict = ask(&fixture, &model->layers[1], ON_FULL_ASK, 9, OUTCOME_RESERVED, DECISION_LOADED);
    scheduler_abandon(fixture.scheduler, &model->layers[1]);
    ck_assert_uint_eq(stats->misses, 2);
    ck_assert_uint_eq(usage->loading_bytes, 0);
    ck_assert_uint_eq(stats->loaded_bytes, 2 * PAGE);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_changes)
{
    setup(&fixture, 8 * PAGE, &policy_flush_all);
    ck_assert_str_eq(changed(0), "");
    struct model *a = ADD_MODEL(&fixture, "a", 1, 1), *b = ADD_MODEL(&fixture, "b", 1);
    struct model *c = ADD_MODEL(&fixture, "c", 1);
    ck_assert_str_eq(changed(0), " a b c");
    uint64_t since = now();
    ck_assert_str_eq(changed(since), "");

    /* Each kind of change, one after the other. */
    load(&fixture, &b->layers[0], 1);
    ck_assert_str_eq(changed(since), " b");
    ck_assert_str_eq(changed(0), " a c b");
    since = now();
    scheduler_pin(fixture.scheduler, &b->layers[0]);
    ck_assert_str_eq(changed(since), " b");
    since = now();
    scheduler_unpin(fixture.scheduler, &b->layers[0]);
    ck_assert_str_eq(changed(since), " b");
    load(&fixture, &a->layers[0], 1);
    ck_assert_str_eq(changed(since), " b a");
    since = now();
    struct verdict verdict =
        ask(&fixture, &a->layers[0], ON_FULL_ASK, 2, OUTCOME_HIT, DECISION_LOADED);
    ck_assert_str_eq(changed(since), " a");
    since = now();
    struct run *first = begin(&fixture, c);
    ck_assert_str_eq(changed(since), " c");
    since = now();
    scheduler_end_run(fixture.scheduler, first);
    ck_assert_str_eq(changed(since), " c");
    since = now();
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &b->layers[0]), 0);
    ck_assert_str_eq(changed(since), " b");

    /* A flush visits no layer, but changes every model. */
    since = now();
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    ck_assert_str_eq(changed(since), " a b c");
    since = now();
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, b), 0);
    ck_assert_str_eq(changed(since), "");
    ck_assert_str_eq(changed(0), " a c");
    verdict_done(&verdict);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_streamed)
{
    BEGIN(8, 1, 2, 4);
    enter(&fixture, run);
    leave(&fixture, run, &model->layers[0]);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 0); /* no plan */
    plan(&fixture, model, "-k-", 0, 0);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), PAGE);
    for (uint32_t i = 1; i < 3; i++) {
        enter(&fixture, run);
        leave(&fixture, run, &model->layers[i]);
    }
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 5 * PAGE);
    ck_assert_uint_eq(model->usage.n_passes, 1);
    plan(&fixture, model, "kk-", 0, 0);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 4 * PAGE);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[2]), 0);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 0);
    enter(&fixture, run);
    leave(&fixture, run, &model->layers[0]);
    plan(&fixture, model, "---", 0, 0);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 3 * PAGE);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 0);
    plan(&fixture, model, "---", 0, 0); /* counts from the flush on, not from before */
    load(&fixture, &model->layers[1], 3);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 2 * PAGE);
    run = scheduler_end_run(fixture.scheduler, run);
    ck_assert_uint_eq(scheduler_model_streamed(fixture.scheduler, model), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_usage");
    TCase *tcase = tcase_create("model_usage");
    tcase_add_test(tcase, test_counts);
    tcase_add_test(tcase, test_changes);
    tcase_add_test(tcase, test_streamed);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
