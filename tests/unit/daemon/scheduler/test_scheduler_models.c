/* The scheduler's models: registration, refusals and limits, removal, and the copy for a dry run.
 */
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

START_TEST(test_unload)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_flush_all);
    struct model *first = ADD_MODEL(&fixture, "a", 2, 2), *second = ADD_MODEL(&fixture, "b", 1);
    ck_assert_ptr_eq(scheduler_find_model(fixture.scheduler, "b"), second);
    ck_assert_ptr_null(scheduler_find_model(fixture.scheduler, "c"));
    ck_assert_ptr_eq(model_find_layer(first, "l1"), &first->layers[1]);
    ck_assert_ptr_null(model_find_layer(first, "l2"));
    load(&fixture, &first->layers[0], 0);
    load(&fixture, &second->layers[0], 0);
    load(&fixture, &first->layers[1], 0);
    fixture.log[0] = '\0';

    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &first->layers[0]), 0);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &first->layers[0]), 0);
    assert_log(&fixture, "e l0; ");
    ck_assert_uint_eq(free_pages(&fixture), 3);
    ck_assert_uint_eq(stats_of(&fixture).evictions, 0); /* no layer was evicted for another */

    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, first), 0);
    assert_log(&fixture, "e l1; - a; ");
    ck_assert_uint_eq(free_pages(&fixture), 5);
    ck_assert_ptr_null(scheduler_find_model(fixture.scheduler, "a"));
    ck_assert_ptr_eq(scheduler_first_model(fixture.scheduler), second);
    ck_assert_ptr_null(second->next);
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.n_models, 1);
    ck_assert_uint_eq(stats.layers_resident, 1);

    /* The last and then the only one: the list's end follows. */
    struct model *third = ADD_MODEL(&fixture, "a", 1);
    ck_assert_ptr_eq(second->next, third);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, third), 0);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, second), 0);
    ck_assert_ptr_null(scheduler_first_model(fixture.scheduler));
    ck_assert_ptr_eq(ADD_MODEL(&fixture, "a", 6), scheduler_first_model(fixture.scheduler));
    load(&fixture, &scheduler_first_model(fixture.scheduler)->layers[0], 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A refused replacement changes nothing, and otherwise the old model is gone with its layers. */
START_TEST(test_replacement)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    struct model *known = ADD_MODEL(&fixture, "m", 3), *model = NULL;
    load(&fixture, &known->layers[0], 0);
    fixture.log[0] = '\0';
    struct model_refusal refusal;

    _cleanup_(definition_unrefp) struct definition *large =
        define("m", (uint64_t[]){4 * PAGE + 1}, 1);
    ck_assert_int_eq(scheduler_replace_model(fixture.scheduler, known, large, &model, &refusal),
                     -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_OUT_OF_MEMORY);

    _cleanup_(definition_unrefp) struct definition *next =
        define("m", (uint64_t[]){PAGE, 4 * PAGE}, 2);
    scheduler_pin(fixture.scheduler, &known->layers[0]);
    fixture.log[0] = '\0';
    ck_assert_int_eq(scheduler_replace_model(fixture.scheduler, known, next, &model, &refusal),
                     -EBUSY);
    assert_log(&fixture, "");
    ck_assert_ptr_eq(scheduler_find_model(fixture.scheduler, "m"), known);
    ck_assert_uint_eq(free_pages(&fixture), 1);
    scheduler_unpin(fixture.scheduler, &known->layers[0]);
    fixture.log[0] = '\0';

    ck_assert_int_eq(scheduler_replace_model(fixture.scheduler, known, next, &model, &refusal), 0);
    assert_log(&fixture, "e l0; - m; + m; ");
    ck_assert_ptr_eq(scheduler_find_model(fixture.scheduler, "m"), model);
    ck_assert_uint_eq(model->definition->n_layers, 2);
    ck_assert_uint_eq(free_pages(&fixture), 4);
    ck_assert_uint_eq(stats_of(&fixture).n_models, 1);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_refused_models)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    struct model *model = ADD_MODEL(&fixture, "m", 3), *other = NULL;
    load(&fixture, &model->layers[0], 0);
    fixture.log[0] = '\0';
    struct model_refusal refusal;

    _cleanup_(definition_unrefp) struct definition *same = define("m", (uint64_t[]){1}, 1);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, same, &other, &refusal), -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_ALREADY_LOADED);
    assert_log(&fixture, "");

    _cleanup_(definition_unrefp) struct definition *large =
        define("large", (uint64_t[]){PAGE, 4 * PAGE + 1, 9 * PAGE}, 3);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, large, &other, &refusal), -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_OUT_OF_MEMORY);
    ck_assert_str_eq(refusal.layer, "l1");
    ck_assert_uint_eq(refusal.requested_bytes, 5 * PAGE);
    ck_assert_uint_eq(refusal.available_bytes, PAGE);
    ck_assert_uint_eq(refusal.capacity_bytes, 4 * PAGE);
    assert_log(&fixture, "! l1 out-of-memory; ");

    /* It would not help to unload the known model. */
    _cleanup_(definition_unrefp) struct definition *same_large =
        define("m", (uint64_t[]){5 * PAGE}, 1);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, same_large, &other, &refusal), -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_eq(scheduler_find_model(fixture.scheduler, "m"), model);

    large->layers[1].bytes = UINT64_MAX;
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, large, &other, &refusal), -EPERM);
    ck_assert_uint_eq(refusal.requested_bytes, UINT64_MAX);

    ck_assert_ptr_null(other);
    ck_assert_uint_eq(large->n_refs, 1);
    ck_assert_ptr_null(scheduler_find_model(fixture.scheduler, "large"));
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.n_models, 1);
    ck_assert_uint_eq(stats.layers_resident, 1);
    ck_assert_uint_eq(stats.misses, 1);
    ck_assert_uint_eq(stats.decisions[DECISION_OUT_OF_MEMORY], 3);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_limit_models)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    scheduler_set_observer(fixture.scheduler, NULL, NULL);
    char name[16];
    for (int i = 0; i < SCHEDULER_MODELS_MAX; i++) {
        snprintf(name, sizeof name, "m%d", i);
        ADD_MODEL(&fixture, name, 1);
    }
    struct model *model = NULL;
    struct model_refusal refusal;
    _cleanup_(definition_unrefp) struct definition *more = define("more", (uint64_t[]){1}, 1);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, more, &model, &refusal), -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_LIMIT_EXCEEDED);
    ck_assert_str_eq(refusal.limit, "models");
    ck_assert_uint_eq(refusal.maximum, SCHEDULER_MODELS_MAX);
    _cleanup_(definition_unrefp) struct definition *same = define("m1", (uint64_t[]){1}, 1);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, same, &model, &refusal), -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_ALREADY_LOADED);

    ck_assert_int_eq(
        scheduler_remove_model(fixture.scheduler, scheduler_first_model(fixture.scheduler)), 0);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, more, &model, &refusal), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_limit_layers)
{
    enum { N = SCHEDULER_LAYERS_MAX / DEFINITION_LAYERS_MAX };
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    struct layer_definition *layers = equal_layers(DEFINITION_LAYERS_MAX, 1);
    char names[N + 1][16];
    struct definition definitions[N + 1];
    struct model *models[N + 1] = {0};
    struct model_refusal refusal;
    for (int i = 0; i <= N; i++) {
        snprintf(names[i], sizeof names[i], "m%d", i);
        definitions[i] = define_by_hand(names[i], layers, i < N ? DEFINITION_LAYERS_MAX : 1);
        ck_assert_int_eq(
            scheduler_add_model(fixture.scheduler, &definitions[i], &models[i], &refusal),
            i < N ? 0 : -EPERM);
    }
    ck_assert_int_eq(refusal.error, ERROR_LIMIT_EXCEEDED);
    ck_assert_str_eq(refusal.limit, "layers");
    ck_assert_uint_eq(refusal.maximum, SCHEDULER_LAYERS_MAX);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, models[3]), 0);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &definitions[N], &models[N], &refusal),
                     0);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &definitions[3], &models[3], &refusal),
                     -EPERM); /* one layer too many */
    ck_assert_int_eq(refusal.error, ERROR_LIMIT_EXCEEDED);
    struct definition same = define_by_hand("m4", layers, DEFINITION_LAYERS_MAX);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &same, &models[3], &refusal), -EPERM);
    ck_assert_int_eq(refusal.error, ERROR_ALREADY_LOADED);
    same = define_by_hand(names[N], layers, DEFINITION_LAYERS_MAX);
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &same, &models[3], &refusal), -EPERM);
    ck_assert_int_eq(refusal.error,
                     ERROR_ALREADY_LOADED); /* it fits in place of the known model's only layer */
    scheduler_free(fixture.scheduler);
    for (int i = 0; i <= N; i++)
        ck_assert_uint_eq(definitions[i].n_refs, 1);
    free(layers);
}
END_TEST

START_TEST(test_clone)
{
    struct fixture fixture, copy = {0};
    setup(&fixture, 8 * PAGE, &policy_lru);
    ck_assert_int_eq(scheduler_clone(fixture.scheduler, &copy.scheduler), 0); /* of nothing */
    ck_assert_ptr_null(scheduler_first_model(copy.scheduler));
    scheduler_free(copy.scheduler);

    struct model *a = ADD_MODEL(&fixture, "a", 2, 2, 2), *b = ADD_MODEL(&fixture, "b", 2, 3);
    load(&fixture, &a->layers[0], 1);
    load(&fixture, &b->layers[0], 2);
    reserve(&fixture, &a->layers[1]);
    load(&fixture, &a->layers[2], 3);
    hit(&fixture, &a->layers[0], 4);
    fixture.log[0] = '\0';

    ck_assert_int_eq(scheduler_clone(fixture.scheduler, &copy.scheduler), 0);
    struct model *copied_a = scheduler_first_model(copy.scheduler), *copied_b = copied_a->next;
    ck_assert_str_eq(copied_a->definition->name, "a");
    ck_assert_str_eq(copied_b->definition->name, "b");
    ck_assert_ptr_null(copied_b->next);
    ck_assert_ptr_eq(scheduler_policy(copy.scheduler), &policy_lru);
    ck_assert_uint_eq(arena_capacity_pages(scheduler_arena(copy.scheduler)), 8);
    assert_state(&copy, &copied_a->layers[0], LAYER_RESIDENT);
    assert_state(&copy, &copied_a->layers[1], LAYER_LOADING);
    assert_state(&copy, &copied_a->layers[2], LAYER_RESIDENT);
    assert_state(&copy, &copied_b->layers[0], LAYER_RESIDENT);
    assert_state(&copy, &copied_b->layers[1], LAYER_ABSENT);
    ck_assert_uint_eq(copied_a->layers[0].used_usec, 4);
    struct scheduler_stats stats = stats_of(&copy);
    ck_assert_uint_eq(stats.n_models, 2);
    ck_assert_uint_eq(stats.layers_resident, 3);
    ck_assert_uint_eq(stats.layers_loading, 1);
    ck_assert_uint_eq(stats.hits + stats.misses + stats.loaded_bytes, 0);
    for (int i = 0; i < DECISION_COUNT; i++)
        ck_assert_uint_eq(stats.decisions[i], 0);

    /* By last use: b's l0, then a's l2 and l0. */
    struct verdict verdict =
        ask(&copy, &copied_b->layers[1], ON_FULL_EVICT, 5, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 2);
    ck_assert_ptr_eq(verdict.victims.layers[0], &copied_b->layers[0]);
    ck_assert_ptr_eq(verdict.victims.layers[1], &copied_a->layers[2]);
    verdict_done(&verdict);
    ck_assert_uint_eq(scheduler_model_resident(copy.scheduler, copied_a, NULL), 1);

    /* The original is not affected by the copy, and stays after the copy is freed. */
    scheduler_free(copy.scheduler);
    assert_log(&fixture, "");
    ck_assert_uint_eq(stats_of(&fixture).layers_resident, 3);
    hit(&fixture, &b->layers[0], 6);
    scheduler_complete(fixture.scheduler, &a->layers[1], 7);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_set_policy)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    ck_assert_ptr_eq(scheduler_policy(fixture.scheduler), &policy_flush_all);
    scheduler_set_policy(fixture.scheduler, &policy_flush_all);
    assert_log(&fixture, "");
    scheduler_set_policy(fixture.scheduler, &policy_lru);
    assert_log(&fixture, "p; ");
    ck_assert_ptr_eq(scheduler_policy(fixture.scheduler), &policy_lru);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* Ten thousand layers must be cheap: this is the whole cost of a layer here, if it lies in one
 * extent of the arena. */
START_TEST(test_layer_bytes)
{
    ck_assert_uint_le(sizeof(struct layer), 96);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler-models");
    TCase *tcase = tcase_create("scheduler-models");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, test_unload);
    tcase_add_test(tcase, test_refused_models);
    tcase_add_test(tcase, test_replacement);
    tcase_add_test(tcase, test_limit_models);
    tcase_add_test(tcase, test_limit_layers);
    tcase_add_test(tcase, test_clone);
    tcase_add_test(tcase, test_set_policy);
    tcase_add_test(tcase, test_layer_bytes);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
