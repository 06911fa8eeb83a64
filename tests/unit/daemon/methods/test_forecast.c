/* Forecasts: they are made from a snapshot while the scheduler continues, and end early on
 * request. */
#include "daemon/methods/forecast.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

enum { N_LAYERS = 10, PASSES = 3 };

/* Returns false at this call; -1: never. */
static int count_down(void *context)
{
    int *left = context;
    if (*left == 0)
        return -ETIME;
    if (*left > 0)
        --*left;
    return 0;
}

static struct scheduler *make(struct definition *definition, struct scheduler_snapshot **ret)
{
    struct arena *arena;
    struct scheduler *scheduler;
    struct model *model;
    struct model_refusal refusal;
    ck_assert_int_eq(arena_new((N_LAYERS - 3) * PAGE, PAGE, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, policy_find("next-use"), &scheduler), 0);
    ck_assert_int_eq(scheduler_add_model(scheduler, definition, &model, &refusal), 0);
    ck_assert_int_eq(scheduler_take_snapshot(scheduler, ret), 0);
    return scheduler;
}

START_TEST(test_the_snapshot_outlives_the_scheduler)
{
    struct layer_definition *layers = equal_layers(N_LAYERS, PAGE);
    struct definition definition = define_by_hand("m", layers, N_LAYERS);
    definition.bytes = N_LAYERS * PAGE;
    struct scheduler_snapshot *snapshot;
    struct forecast forecast;
    int left = -1;
    struct forecast_request request = {.policy = policy_find("lru"),
                                       .n_passes = PASSES,
                                       .rates = {1000000, 1000},
                                       .go_on = count_down,
                                       .context = &left};
    scheduler_free(make(&definition, &snapshot));
    ck_assert_int_eq(forecast_make(snapshot, "m", NULL, &request, &forecast), 0);
    ck_assert_int_eq(forecast.end, FORECAST_MADE);
    ck_assert_uint_eq(forecast.n_steps, N_LAYERS);
    ck_assert_uint_eq(forecast.n_passes, PASSES);
    ck_assert_uint_eq(forecast.passes[PASSES - 1].pass.loaded, N_LAYERS);
    ck_assert_uint_eq(forecast.rates.disk_bytes_per_sec, 1000000);
    forecast_done(&forecast);

    /* It may end at any layer, and then nothing leaks. */
    for (int at = 0; at < (1 + PASSES) * N_LAYERS; at++) {
        left = at;
        ck_assert_int_eq(forecast_make(snapshot, "m", NULL, &request, &forecast), -ETIME);
    }
    left = (1 + PASSES) * N_LAYERS;
    ck_assert_int_eq(forecast_make(snapshot, "m", NULL, &request, &forecast), 0);
    forecast_done(&forecast);
    scheduler_snapshot_free(snapshot);
    ck_assert_uint_eq(definition.n_refs, 1);
    free(layers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("forecast");
    TCase *tcase = tcase_create("forecast");
    tcase_add_test(tcase, test_the_snapshot_outlives_the_scheduler);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
