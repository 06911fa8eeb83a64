/* Which layers are evicted for the sake of the system: those that nobody uses, and in portions. */
#include "daemon/scheduler/scheduler.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static struct fixture fixture;
static uint64_t n_trimmed;

static void count(const struct scheduler_event *event, void *context)
{
    observe(event, context);
    n_trimmed += event->trimmed;
    ck_assert(!event->trimmed || (event->type == EVENT_LAYER_EVICTED && !event->successor));
}

static void begin(uint64_t n_pages)
{
    setup(&fixture, n_pages * PAGE, &policy_lru);
    scheduler_set_observer(fixture.scheduler, count, &fixture);
    n_trimmed = 0;
}

static void end(void)
{
    fixture.scheduler = scheduler_free(fixture.scheduler);
}

/* Returns how many portions it took. */
static unsigned trim(uint64_t before_usec)
{
    struct trim_walk walk = {0};
    unsigned n = 1;
    while (scheduler_trim_portion(fixture.scheduler, &walk, before_usec))
        n++;
    return n;
}

START_TEST(what_nobody_uses)
{
    begin(100);
    struct model *a = ADD_MODEL(&fixture, "a", 1, 2, 3), *b = ADD_MODEL(&fixture, "b", 4);
    load(&fixture, &a->layers[0], 10);
    load(&fixture, &a->layers[1], 20);
    load(&fixture, &a->layers[2], 30);
    load(&fixture, &b->layers[0], 20);
    scheduler_pin(fixture.scheduler, &a->layers[0]);
    fixture.log[0] = '\0';

    trim(20);
    assert_log(&fixture, "");
    trim(21);
    assert_log(&fixture, "e l1; e l0; ");
    assert_state(&fixture, &a->layers[0], LAYER_RESIDENT);
    assert_state(&fixture, &a->layers[2], LAYER_RESIDENT);
    assert_state(&fixture, &b->layers[0], LAYER_ABSENT);
    hit(&fixture, &a->layers[2], 50);
    trim(50);
    assert_log(&fixture, "");
    scheduler_unpin(fixture.scheduler, &a->layers[0]);
    trim(UINT64_MAX);
    assert_log(&fixture, "e l0; e l2; ");
    ck_assert_uint_eq(free_pages(&fixture), 100);
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.trimmed, 4);
    ck_assert_uint_eq(stats.evictions, 0);
    ck_assert_uint_eq(n_trimmed, 4);
    /* Other evictions are none of this kind. */
    load(&fixture, &b->layers[0], 60);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &b->layers[0]), 0);
    ck_assert_uint_eq(n_trimmed, 4);
}
END_TEST

/* A model with a run, a load in flight or a holder is in use as a whole. */
START_TEST(models_in_use)
{
    begin(100);
    struct model *models[] = {ADD_MODEL(&fixture, "run", 1, 1), ADD_MODEL(&fixture, "load", 1, 1),
                              ADD_MODEL(&fixture, "held", 1, 1), ADD_MODEL(&fixture, "idle", 1, 1)};
    struct run *run;
    for (unsigned i = 0; i < 4; i++)
        load(&fixture, &models[i]->layers[0], 1);
    ck_assert_int_eq(scheduler_begin_run(fixture.scheduler, models[0], &run), 0);
    reserve(&fixture, &models[1]->layers[1]);
    scheduler_hold_model(models[2]);
    trim(UINT64_MAX);
    for (unsigned i = 0; i < 4; i++)
        assert_state(&fixture, &models[i]->layers[0], i < 3 ? LAYER_RESIDENT : LAYER_ABSENT);
    assert_state(&fixture, &models[1]->layers[1], LAYER_LOADING);
    scheduler_end_run(fixture.scheduler, run);
    scheduler_complete(fixture.scheduler, &models[1]->layers[1], 2);
    scheduler_let_go_of_model(models[2]);
    trim(UINT64_MAX);
    ck_assert_uint_eq(free_pages(&fixture), 100);
    ck_assert_uint_eq(n_trimmed, 5);
}
END_TEST

/* The walk goes on where it was, also if models come and go between two portions. */
START_TEST(portions)
{
    enum { N_LAYERS = 200 };
    begin(3 * N_LAYERS);
    struct layer_definition *layers = equal_layers(N_LAYERS, PAGE);
    struct definition definitions[3];
    struct model *models[3];
    struct model_refusal refusal;
    struct trim_walk walk = {0};
    static const char *const names[] = {"a", "b", "c"};

    scheduler_set_observer(fixture.scheduler, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        definitions[i] = define_by_hand(names[i], layers, N_LAYERS);
        ck_assert_int_eq(
            scheduler_add_model(fixture.scheduler, &definitions[i], &models[i], &refusal), 0);
        load_all(&fixture, models[i]);
    }
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert(scheduler_trim_portion(fixture.scheduler, &walk, UINT64_MAX));
        ck_assert_uint_eq(stats_of(&fixture).trimmed, i * SCHEDULER_PORTION);
    }
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, models[0]), 0);
    ck_assert(scheduler_trim_portion(fixture.scheduler, &walk, UINT64_MAX));
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, models[1], NULL),
                      N_LAYERS - SCHEDULER_PORTION);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, models[2]), 0);
    unsigned n = 1;
    while (scheduler_trim_portion(fixture.scheduler, &walk, UINT64_MAX))
        n++;
    ck_assert_uint_eq(n, (N_LAYERS - SCHEDULER_PORTION) / SCHEDULER_PORTION + 1);
    ck_assert_uint_eq(free_pages(&fixture), 3 * N_LAYERS);
    ck_assert_uint_eq(trim(UINT64_MAX), 1); /* nothing is left */
    end();
    free(layers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trim");
    TCase *tcase = tcase_create("trim");
    tcase_add_checked_fixture(tcase, NULL, end);
    tcase_add_test(tcase, what_nobody_uses);
    tcase_add_test(tcase, models_in_use);
    tcase_add_test(tcase, portions);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
