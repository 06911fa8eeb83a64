/* Which models have series of their own, and what all others together have; the bounds of the
 * text. */
#include "daemon/metrics/exposition.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static struct fixture fixture;
static struct history *history;
static struct metrics *metrics;
static char text[EXPOSITION_BYTES_MAX];

static void observe_all(const struct scheduler_event *event, void *context)
{
    (void)context;
    history_on_scheduler(event, history);
    metrics_on_scheduler(event, metrics);
}

static void begin(uint64_t n_pages)
{
    setup(&fixture, n_pages * PAGE, &policy_lru);
    ck_assert_int_eq(history_new(fixture.scheduler, &history), 0);
    ck_assert_int_eq(metrics_new(fixture.scheduler, history, &metrics), 0);
    scheduler_set_observer(fixture.scheduler, observe_all, NULL);
}

static void end(void)
{
    scheduler_set_observer(fixture.scheduler, NULL, NULL);
    metrics_free(metrics);
    scheduler_free(fixture.scheduler);
    history_free(history);
}

static void request(struct layer *layer)
{
    struct verdict verdict;
    ck_assert_int_eq(scheduler_request(fixture.scheduler, layer, ON_FULL_EVICT, 1, &verdict), 0);
    if (verdict.outcome == OUTCOME_RESERVED)
        scheduler_complete(fixture.scheduler, layer, 2);
    verdict_done(&verdict);
}

/* Returns the text's length. */
static size_t format(const struct histogram *calls)
{
    static const struct sample sample = {.pressure_avg10 = 0};
    static const struct pressure pressure = {.cause = PRESSURE_STALLS, .n_began = 3};
    struct exposition_facts facts = {.version = "0",
                                     .on_full = "evict",
                                     .sample = &sample,
                                     .pressure = &pressure,
                                     .holes = {5 << 20, 7 << 20, 2 << 20},
                                     .immediate_calls = calls,
                                     .deferred_calls = calls};
    int n = exposition_format(fixture.scheduler, metrics, &facts, text);
    ck_assert_int_gt(n, 0);
    ck_assert_uint_eq(strlen(text), (size_t)n);
    return (size_t)n;
}

static void assert_line(const char *line)
{
    ck_assert_msg(strstr(text, line) != NULL, "%s is not in:\n%s", line, text);
}

START_TEST(test_histogram)
{
    struct histogram histogram = {0};
    histogram_add(&histogram, 0);
    histogram_add(&histogram, 100);
    histogram_add(&histogram, 101);
    histogram_add(&histogram, 30000000);
    histogram_add(&histogram, 30000001);
    ck_assert_uint_eq(histogram.counts[0], 2);
    ck_assert_uint_eq(histogram.counts[1], 1);
    ck_assert_uint_eq(histogram.counts[HISTOGRAM_BOUNDS - 1], 1);
    ck_assert_uint_eq(histogram.counts[HISTOGRAM_BOUNDS], 1);
    ck_assert_uint_eq(histogram.sum_usec, 60000202);
    for (unsigned i = 1; i < HISTOGRAM_BOUNDS; i++)
        ck_assert_uint_gt(histogram_bounds_usec[i], histogram_bounds_usec[i - 1]);

    begin(1);
    format(&histogram);
    assert_line("\nedgemind_call_duration_seconds_bucket{reply=\"deferred\",le=\"0.0001\"} 2\n");
    assert_line("\nedgemind_call_duration_seconds_bucket{reply=\"deferred\",le=\"30\"} 4\n");
    assert_line("\nedgemind_call_duration_seconds_bucket{reply=\"deferred\",le=\"+Inf\"} 5\n");
    assert_line("\nedgemind_call_duration_seconds_sum{reply=\"deferred\"} 60.000202\n");
    assert_line("\nedgemind_call_duration_seconds_count{reply=\"deferred\"} 5\n");
    assert_line("\nedgemind_loop_lag_seconds_count 0\n");
    assert_line("\nedgemind_memory_pressure 1\n");
    assert_line("\nedgemind_arena_trimmed_bytes 5242880\n");
    assert_line("\nedgemind_trim_given_bytes_total 7340032\n");
    assert_line("\nedgemind_trim_taken_bytes_total 2097152\n");
    assert_line("\nedgemind_memory_pressure_periods_total 3\n");
    end();
}
END_TEST

static struct metrics_others others(bool expected)
{
    struct metrics_others ret;
    ck_assert_int_eq(metrics_others(metrics, &ret), expected);
    return ret;
}

START_TEST(test_names)
{
    struct model *models[METRICS_MODELS_MAX + 2];
    char name[16];
    size_t n;

    begin(2 * (METRICS_MODELS_MAX + 2));
    for (unsigned i = 0; i < METRICS_MODELS_MAX + 2; i++) {
        snprintf(name, sizeof name, "m%u", i);
        models[i] = ADD_MODEL(&fixture, name, 1, 1);
        request(&models[i]->layers[0]);
    }
    metrics_models(metrics, &n);
    ck_assert_uint_eq(n, METRICS_MODELS_MAX);
    ck_assert_uint_eq(others(true).stats.misses, 2);
    ck_assert_uint_eq(others(true).resident_bytes, 2 * PAGE);

    /* One of each kind goes: what others had stays theirs, what a named one had is nobody's. */
    request(&models[METRICS_MODELS_MAX]->layers[0]);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, models[3]), 0);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, models[METRICS_MODELS_MAX]), 0);
    ck_assert_uint_eq(others(true).stats.misses, 2);
    ck_assert_uint_eq(others(true).stats.hits, 1);
    ck_assert_uint_eq(others(true).resident_bytes, PAGE);
    const struct metrics_model *named = metrics_models(metrics, &n);
    ck_assert_uint_eq(n, METRICS_MODELS_MAX - 1);
    ck_assert_str_eq(named[3].model->definition->name, "m4");

    /* The next model takes the free place; the other that is still there gets no name. */
    ADD_MODEL(&fixture, "new", 1);
    named = metrics_models(metrics, &n);
    ck_assert_str_eq(named[n - 1].model->definition->name, "new");
    ck_assert_uint_eq(others(true).stats.misses, 2);
    end();
}
END_TEST

/* What was counted before the metrics began is nobody's, as after a restart. */
START_TEST(test_begin)
{
    begin(4);
    struct model *a = ADD_MODEL(&fixture, "a", 1);
    request(&a->layers[0]);
    metrics_free(metrics);
    ck_assert_int_eq(metrics_new(fixture.scheduler, history, &metrics), 0);
    size_t n;
    metrics_models(metrics, &n);
    ck_assert_uint_eq(n, 1);
    others(false);
    ADD_MODEL(&fixture, "other", 1);
    metrics_models(metrics, &n);
    ck_assert_uint_eq(n, 1); /* its name would be used twice */
    others(true);
    end();
}
END_TEST

START_TEST(test_thrash)
{
    begin(1);
    struct model *a = ADD_MODEL(&fixture, "a", 1, 1), *b = ADD_MODEL(&fixture, "b", 1);
    request(&a->layers[0]);
    request(&b->layers[0]);
    ck_assert_uint_eq(metrics_n_thrashed(metrics), 0);
    request(&a->layers[0]);
    request(&a->layers[1]);
    ck_assert_uint_eq(metrics_n_thrashed(metrics), 1);
    request(&a->layers[0]);
    size_t n;
    const struct metrics_model *named = metrics_models(metrics, &n);
    ck_assert_uint_eq(named[0].n_thrashed, 2);
    ck_assert_uint_eq(named[1].n_thrashed, 0);
    uint64_t n_fills = 0;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
        n_fills += metrics_durations(metrics, METRICS_FILL)->counts[i];
    ck_assert_uint_eq(n_fills, 5);
    format(&(struct histogram){0});
    assert_line("\nedgemind_model_thrash_total{model=\"a\"} 2\n");
    assert_line("\nedgemind_thrash_total 2\n");
    end();
}
END_TEST

/* With names that take as much room as they may, and numbers of 20 digits, the text still fits. */
START_TEST(test_longest_text)
{
    struct histogram calls;
    struct histogram *durations;
    char name[64];

    begin(1);
    memset(&calls, 0xff, sizeof calls);
    for (unsigned i = 0; i < METRICS_DURATIONS; i++) {
        durations = (struct histogram *)(uintptr_t)metrics_durations(metrics, i);
        *durations = calls;
    }
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "%03u%s", i,
                 i % 2 ? "\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"" : "abcdefghijklmn");
        struct model *model = ADD_MODEL(&fixture, name, 1);
        memset(&model->stats, 0xff, sizeof model->stats);
    }
    size_t n;
    metrics_models(metrics, &n);
    ck_assert_uint_gt(n, METRICS_MODELS_MAX * 9 / 10);
    ck_assert_uint_lt(format(&calls), EXPOSITION_BYTES_MAX - (2 << 10));
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tcase = tcase_create("metrics");
    tcase_add_test(tcase, test_histogram);
    tcase_add_test(tcase, test_names);
    tcase_add_test(tcase, test_begin);
    tcase_add_test(tcase, test_thrash);
    tcase_add_test(tcase, test_longest_text);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
