/* The scheduler: every decision, every event, and the reference workload. */
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

#include <errno.h>

START_TEST(test_names)
{
    enum on_full on_full = ON_FULL_EVICT;
    ck_assert_int_eq(on_full_parse("ask", &on_full), 0);
    ck_assert_int_eq(on_full, ON_FULL_ASK);
    ck_assert_int_eq(on_full_parse("Evict", &on_full), -EINVAL);
    ck_assert_int_eq(on_full_parse("", &on_full), -EINVAL);
    ck_assert_int_eq(on_full, ON_FULL_ASK);
    ck_assert_int_eq(on_full_parse("evict", &on_full), 0);
    ck_assert_int_eq(on_full, ON_FULL_EVICT);
    ck_assert_str_eq(on_full_name(ON_FULL_EVICT), "evict");
    ck_assert_str_eq(on_full_name(ON_FULL_ASK), "ask");
    ck_assert_str_eq(decision_name(DECISION_LOADED), "loaded");
    ck_assert_str_eq(decision_name(DECISION_MUST_UNLOAD), "must-unload");
    ck_assert_str_eq(decision_name(DECISION_OUT_OF_MEMORY), "out-of-memory");
    ck_assert_str_eq(decision_name(DECISION_BUSY), "busy");
}
END_TEST

/* Ten layers of 1024 x 2048 f32 with bias, alternating. */
static struct definition *define_ffn10(void)
{
    uint64_t bytes[10];
    for (uint64_t i = 0; i < 10; i++)
        bytes[i] = (1024 * 2048 + (i % 2 == 0 ? 2048 : 1024)) * 4;
    return define("ffn10", bytes, 10);
}

START_TEST(test_ffn10)
{
    struct fixture fixture;
    setup(&fixture, 50 << 20, &policy_flush_all);
    _cleanup_(definition_unrefp) struct definition *definition = define_ffn10();
    struct model *model = NULL;
    struct model_refusal refusal;
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, definition, &model, &refusal), 0);

    for (uint32_t i = 0; i < 10; i++) {
        bool full = i == 6;
        struct verdict verdict =
            ask(&fixture, &model->layers[i], ON_FULL_EVICT, i, OUTCOME_RESERVED,
                full ? DECISION_MUST_UNLOAD : DECISION_LOADED);
        ck_assert_uint_eq(verdict.victims.n_layers, full ? 6 : 0);
        ck_assert_uint_eq(verdict.victims.pages, full ? 3 * 2050 + 3 * 2049 : 0);
        ck_assert_int_eq(verdict.flushed, full);
        ck_assert_uint_eq(verdict.requested_bytes, i % 2 == 0 ? 2050 * PAGE : 2049 * PAGE);
        if (full)
            ck_assert_uint_eq(verdict.available_bytes, (12800 - 3 * 2050 - 3 * 2049) * PAGE);
        verdict_done(&verdict);
        scheduler_complete(fixture.scheduler, &model->layers[i], i);
    }
    assert_log(&fixture, "+ ffn10; r l0; l l0; r l1; l l1; r l2; l l2; r l3; l l3; r l4; l l4; "
                         "r l5; l l5; f 6; r l6; l l6; r l7; l l7; r l8; l l8; r l9; l l9; ");
    ck_assert_uint_eq(fixture.flushed_bytes, 6 * 1024 * 2048 * 4 + 3 * (2048 + 1024) * 4);

    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.n_models, 1);
    ck_assert_uint_eq(stats.layers_resident, 4);
    ck_assert_uint_eq(stats.layers_loading, 0);
    ck_assert_uint_eq(stats.hits, 0);
    ck_assert_uint_eq(stats.misses, 10);
    ck_assert_uint_eq(stats.decisions[DECISION_LOADED], 10);
    ck_assert_uint_eq(stats.decisions[DECISION_MUST_UNLOAD], 1);
    ck_assert_uint_eq(stats.decisions[DECISION_OUT_OF_MEMORY], 0);
    ck_assert_uint_eq(stats.decisions[DECISION_BUSY], 0);
    ck_assert_uint_eq(stats.evictions, 6);
    ck_assert_uint_eq(stats.flushes, 1);
    ck_assert_uint_eq(stats.loaded_bytes, definition->bytes);
    uint64_t bytes;
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, model, &bytes), 4);
    ck_assert_uint_eq(bytes, 4 * 1024 * 2048 * 4 + 2 * (2048 + 1024) * 4);
    for (uint32_t i = 0; i < 10; i++)
        assert_state(&fixture, &model->layers[i], i < 6 ? LAYER_ABSENT : LAYER_RESIDENT);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_ffn10_ask)
{
    struct fixture fixture;
    setup(&fixture, 50 << 20, &policy_flush_all);
    _cleanup_(definition_unrefp) struct definition *definition = define_ffn10();
    struct model *model = NULL;
    struct model_refusal refusal;
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, definition, &model, &refusal), 0);
    for (uint32_t i = 0; i < 6; i++)
        load(&fixture, &model->layers[i], i);
    fixture.log[0] = '\0';

    struct verdict verdict =
        ask(&fixture, &model->layers[6], ON_FULL_ASK, 6, OUTCOME_REFUSED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 6);
    for (size_t i = 0; i < 6; i++)
        ck_assert_ptr_eq(verdict.victims.layers[i], &model->layers[i]);
    ck_assert(!verdict.flushed);
    verdict_done(&verdict);
    assert_log(&fixture, "! l6 must-unload; ");

    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.layers_resident, 6);
    ck_assert_uint_eq(stats.layers_loading, 0);
    ck_assert_uint_eq(stats.misses, 7);
    ck_assert_uint_eq(stats.decisions[DECISION_LOADED], 6);
    ck_assert_uint_eq(stats.decisions[DECISION_MUST_UNLOAD], 1);
    ck_assert_uint_eq(stats.evictions, 0);
    ck_assert_uint_eq(stats.flushes, 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_lru)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_lru);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2, 2, 2, 3, 6);
    for (uint32_t i = 0; i < 3; i++)
        load(&fixture, &model->layers[i], i);
    hit(&fixture, &model->layers[0], 10);
    ck_assert_uint_eq(model->layers[0].used_usec, 10);
    fixture.log[0] = '\0';

    struct verdict verdict =
        ask(&fixture, &model->layers[3], ON_FULL_EVICT, 11, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 1);
    ck_assert_ptr_eq(verdict.victims.layers[0], &model->layers[1]);
    ck_assert_uint_eq(verdict.victims.pages, 2);
    ck_assert_uint_eq(verdict.available_bytes, 0);
    ck_assert(!verdict.flushed);
    verdict_done(&verdict);
    scheduler_complete(fixture.scheduler, &model->layers[3], 12);
    ck_assert_uint_eq(model->layers[3].used_usec, 12);
    assert_log(&fixture, "e l1; r l3; l l3; ");

    /* Now by last use: l2, l0, l3. Three pages need two of them. */
    verdict =
        ask(&fixture, &model->layers[4], ON_FULL_EVICT, 13, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 2);
    ck_assert_ptr_eq(verdict.victims.layers[0], &model->layers[2]);
    ck_assert_ptr_eq(verdict.victims.layers[1], &model->layers[0]);
    verdict_done(&verdict);
    scheduler_complete(fixture.scheduler, &model->layers[4], 14);
    assert_log(&fixture, "e l2; e l0; r l4; l l4; ");

    /* All layers are evicted, but one by one: lru does not flush. */
    verdict =
        ask(&fixture, &model->layers[5], ON_FULL_EVICT, 15, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 2);
    ck_assert(!verdict.flushed);
    verdict_done(&verdict);
    assert_log(&fixture, "e l3; e l4; r l5; ");
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.hits, 1);
    ck_assert_uint_eq(stats.misses, 6);
    ck_assert_uint_eq(stats.decisions[DECISION_LOADED], 6); /* l5 is not in yet */
    ck_assert_uint_eq(stats.decisions[DECISION_MUST_UNLOAD], 3);
    ck_assert_uint_eq(stats.evictions, 5);
    ck_assert_uint_eq(stats.flushes, 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A registered layer can be too large only if its definition changes later. */
START_TEST(test_out_of_memory)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 1);
    load(&fixture, &model->layers[0], 0);
    fixture.log[0] = '\0';
    static const struct {
        uint64_t bytes, requested_bytes;
    } cases[] = {
        {4 * PAGE + 1, 5 * PAGE},
        {UINT64_MAX - PAGE + 1, UINT64_MAX - PAGE + 1},
        {UINT64_MAX - PAGE + 2, UINT64_MAX},
        {UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model->definition->layers[1].bytes = cases[i].bytes;
        struct verdict verdict = ask(&fixture, &model->layers[1], ON_FULL_EVICT, 1, OUTCOME_REFUSED,
                                     DECISION_OUT_OF_MEMORY);
        ck_assert_uint_eq(verdict.requested_bytes, cases[i].requested_bytes);
        ck_assert_uint_eq(verdict.available_bytes, 2 * PAGE);
        ck_assert_uint_eq(verdict.victims.n_layers, 0);
        verdict_done(&verdict);
        assert_log(&fixture, "! l1 out-of-memory; ");
        ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_OUT_OF_MEMORY], i + 1);
    }
    assert_state(&fixture, &model->layers[0], LAYER_RESIDENT);
    ck_assert_uint_eq(stats_of(&fixture).misses, 5);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_busy)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_lru);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2, 2, 4, 5);
    reserve(&fixture, &model->layers[1]);
    load(&fixture, &model->layers[0], 0);
    reserve(&fixture, &model->layers[2]);
    fixture.log[0] = '\0';

    struct verdict verdict =
        ask(&fixture, &model->layers[3], ON_FULL_EVICT, 1, OUTCOME_REFUSED, DECISION_BUSY);
    ck_assert_uint_eq(verdict.n_blockers, 2);
    ck_assert_ptr_eq(verdict.blockers[0], &model->layers[1]);
    ck_assert_ptr_eq(verdict.blockers[1], &model->layers[2]);
    ck_assert_uint_eq(verdict.victims.n_layers, 0);
    ck_assert_uint_eq(verdict.available_bytes, 0);
    ck_assert_uint_eq(verdict.requested_bytes, 4 * PAGE);
    verdict_done(&verdict);
    assert_log(&fixture, "! l3 busy; ");
    assert_state(&fixture, &model->layers[0], LAYER_RESIDENT);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_BUSY], 1);

    struct layer **loading = NULL;
    size_t n_loading = 0;
    ck_assert_int_eq(scheduler_loading(fixture.scheduler, &loading, &n_loading), 0);
    ck_assert_uint_eq(n_loading, 2);
    ck_assert_ptr_eq(loading[0], &model->layers[1]);
    ck_assert_ptr_eq(loading[1], &model->layers[2]);
    free(loading);

    /* With one load less, eviction would suffice. */
    scheduler_abandon(fixture.scheduler, &model->layers[1]);
    assert_log(&fixture, "a l1; ");
    verdict =
        ask(&fixture, &model->layers[3], ON_FULL_EVICT, 2, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    verdict_done(&verdict);
    assert_log(&fixture, "e l0; r l3; ");
    verdict = ask(&fixture, &model->layers[4], ON_FULL_EVICT, 3, OUTCOME_REFUSED, DECISION_BUSY);
    ck_assert_uint_eq(verdict.n_blockers, 2);
    verdict_done(&verdict);

    scheduler_abandon(fixture.scheduler, &model->layers[2]);
    scheduler_abandon(fixture.scheduler, &model->layers[3]);
    ck_assert_int_eq(scheduler_loading(fixture.scheduler, &loading, &n_loading), 0);
    ck_assert_uint_eq(n_loading, 0);
    ck_assert_ptr_null(loading);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_loading)
{
    struct fixture fixture;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2);
    reserve(&fixture, &model->layers[0]);
    assert_state(&fixture, &model->layers[0], LAYER_LOADING);
    uint64_t first_page = model->layers[0].allocation.first_page;
    fixture.log[0] = '\0';

    struct verdict verdict =
        ask(&fixture, &model->layers[0], ON_FULL_EVICT, 1, OUTCOME_LOADING, DECISION_LOADED);
    verdict_done(&verdict);
    assert_log(&fixture, "");
    ck_assert_uint_eq(model->layers[0].allocation.first_page, first_page);
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.misses, 2);
    ck_assert_uint_eq(stats.hits, 0);
    ck_assert_uint_eq(stats.decisions[DECISION_LOADED], 0);
    ck_assert_uint_eq(stats.loaded_bytes, 0);
    ck_assert_uint_eq(stats.layers_loading, 1);
    ck_assert_uint_eq(model->n_loading, 1);

    /* Held until the loader reports. */
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), -EBUSY);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[0]), -EBUSY);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), -EBUSY);
    assert_state(&fixture, &model->layers[0], LAYER_LOADING);
    assert_log(&fixture, "");

    scheduler_abandon(fixture.scheduler, &model->layers[0]);
    assert_state(&fixture, &model->layers[0], LAYER_ABSENT);
    ck_assert_uint_eq(free_pages(&fixture), 4);
    ck_assert_uint_eq(model->n_loading, 0);
    assert_log(&fixture, "a l0; ");
    load(&fixture, &model->layers[0], 2);
    ck_assert_uint_eq(stats_of(&fixture).loaded_bytes, 2 * PAGE);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A flush during a load keeps the layer that is being loaded, and counts as a flush. */
START_TEST(test_flush_while_loading)
{
    struct fixture fixture;
    setup(&fixture, 8 * PAGE, &policy_flush_all);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2, 2, 2, 3, 6);
    load(&fixture, &model->layers[0], 0);
    reserve(&fixture, &model->layers[1]);
    load(&fixture, &model->layers[2], 0);
    load(&fixture, &model->layers[3], 0);
    fixture.log[0] = '\0';

    struct verdict verdict =
        ask(&fixture, &model->layers[5], ON_FULL_EVICT, 1, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert(verdict.flushed);
    ck_assert_uint_eq(verdict.victims.n_layers, 3);
    verdict_done(&verdict);
    assert_log(&fixture, "f 3; r l5; ");
    ck_assert_uint_eq(fixture.flushed_bytes, 6 * PAGE);
    assert_state(&fixture, &model->layers[0], LAYER_ABSENT);
    assert_state(&fixture, &model->layers[1], LAYER_LOADING);
    assert_state(&fixture, &model->layers[2], LAYER_ABSENT);
    assert_state(&fixture, &model->layers[3], LAYER_ABSENT);
    ck_assert_uint_eq(model->layers[1].allocation.first_page, 2);
    ck_assert_uint_eq(model->layers[1].allocation.n_pages, 2);
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, model, NULL), 0);

    scheduler_complete(fixture.scheduler, &model->layers[1], 2);
    scheduler_complete(fixture.scheduler, &model->layers[5], 3);
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.flushes, 1);
    ck_assert_uint_eq(stats.evictions, 3);
    ck_assert_uint_eq(stats.layers_resident, 2);
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, model, NULL), 2);
    ck_assert_uint_eq(free_pages(&fixture), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler");
    TCase *tcase = tcase_create("scheduler");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, test_names);
    tcase_add_test(tcase, test_ffn10);
    tcase_add_test(tcase, test_ffn10_ask);
    tcase_add_test(tcase, test_lru);
    tcase_add_test(tcase, test_out_of_memory);
    tcase_add_test(tcase, test_busy);
    tcase_add_test(tcase, test_loading);
    tcase_add_test(tcase, test_flush_while_loading);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
