/* The scheduler's reset: its result, and that its cost, like a flush's, does not grow with the
 * number of layers. */
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

#include <sys/mman.h>

START_TEST(test_reset)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_lru);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2, 2, 3);
    for (uint32_t i = 0; i < 3; i++)
        load(&fixture, &model->layers[i], i);
    fixture.log[0] = '\0';
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    assert_log(&fixture, "f 3; ");
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    assert_log(&fixture, "");
    ck_assert_uint_eq(free_pages(&fixture), 6);
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.layers_resident, 0);
    ck_assert_uint_eq(stats.evictions, 0);
    ck_assert_uint_eq(stats.flushes, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_state(&fixture, &model->layers[i], LAYER_ABSENT);

    /* Layers that were resident are loaded again, in a new order of use; the others are not
     * victims. */
    load(&fixture, &model->layers[2], 5);
    load(&fixture, &model->layers[0], 6);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[1]), 0);
    fixture.log[0] = '\0';
    struct verdict verdict =
        ask(&fixture, &model->layers[3], ON_FULL_EVICT, 7, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    verdict_done(&verdict);
    assert_log(&fixture, "e l2; r l3; ");
    scheduler_free(fixture.scheduler);
}
END_TEST

/* Loads a model of `n` layers of a page, and resets. During the reset the layers' memory can be
 * neither read nor written: a walk over them would end the test. */
static uint64_t reset_steps(uint32_t n)
{
    struct fixture fixture;
    setup(&fixture, (uint64_t)n * PAGE, &policy_flush_all);
    scheduler_set_observer(fixture.scheduler, NULL, NULL);
    _cleanup_(freep) struct layer_definition *layers = equal_layers(n, PAGE);
    struct definition definition = define_by_hand("m", layers, n);
    struct model *model = NULL;
    struct model_refusal refusal;
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &definition, &model, &refusal), 0);
    load_all(&fixture, model);

    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)model->layers + page - 1) & ~(page - 1);
    uintptr_t end = (uintptr_t)(model->layers + n) & ~(page - 1);
    if (n > 1000)
        ck_assert_uint_gt(end, begin + page);
    bool protect = end > begin;
    if (protect)
        ck_assert_int_eq(mprotect((void *)begin, end - begin, PROT_NONE), 0);
    uint64_t before = arena_steps(scheduler_arena(fixture.scheduler));
    int r = scheduler_reset(fixture.scheduler);
    uint64_t steps = arena_steps(scheduler_arena(fixture.scheduler)) - before;
    if (protect)
        ck_assert_int_eq(mprotect((void *)begin, end - begin, PROT_READ | PROT_WRITE), 0);
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(stats_of(&fixture).layers_resident, 0);
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, model, NULL), 0);
    uint32_t n_absent = 0;
    for (uint32_t i = 0; i < n; i++)
        n_absent += scheduler_layer_state(fixture.scheduler, &model->layers[i]) == LAYER_ABSENT;
    ck_assert_uint_eq(n_absent, n);
    scheduler_free(fixture.scheduler);
    return steps;
}

START_TEST(test_reset_steps)
{
    ck_assert_uint_eq(reset_steps(10), reset_steps(100000));
}
END_TEST

/* The same for a flush because of a request. */
static uint64_t flush_steps(uint32_t n)
{
    struct fixture fixture;
    setup(&fixture, (uint64_t)n * PAGE, &policy_flush_all);
    scheduler_set_observer(fixture.scheduler, NULL, NULL);
    _cleanup_(freep) struct layer_definition *layers = equal_layers(n, PAGE);
    struct definition definition = define_by_hand("m", layers, n);
    struct model *model = NULL, *other = ADD_MODEL(&fixture, "other", 1);
    struct model_refusal refusal;
    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &definition, &model, &refusal), 0);
    load_all(&fixture, model);

    uint64_t before = arena_steps(scheduler_arena(fixture.scheduler));
    struct verdict verdict =
        ask(&fixture, &other->layers[0], ON_FULL_EVICT, n, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    uint64_t steps = arena_steps(scheduler_arena(fixture.scheduler)) - before;
    ck_assert_uint_eq(verdict.victims.n_layers, n);
    verdict_done(&verdict);
    scheduler_free(fixture.scheduler);
    return steps;
}

START_TEST(test_flush_steps)
{
    ck_assert_uint_eq(flush_steps(10), flush_steps(100000));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler_reset");
    TCase *tcase = tcase_create("scheduler_reset");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, test_reset);
    tcase_add_test(tcase, test_reset_steps);
    tcase_add_test(tcase, test_flush_steps);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
