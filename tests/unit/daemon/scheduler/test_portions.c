/* A layer that makes many others give way: they are evicted in portions, and whatever happens
 * between two of them, no layer that is in use gives way and the result is the same. */
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

enum { N = 1000, LARGE = 700 };

static struct many {
    struct fixture fixture;
    struct layer_definition *layers;
    struct definition definition;
    struct model *model, *large;
    struct room room;
} many;

/* N resident layers of a page each, which fill the arena, and a layer that needs LARGE of them. */
static void begin(const struct policy *policy)
{
    struct model_refusal refusal;
    many.room = (struct room){0};
    setup(&many.fixture, N * PAGE, policy);
    scheduler_set_observer(many.fixture.scheduler, NULL, NULL);
    many.large = ADD_MODEL(&many.fixture, "large", LARGE);
    many.layers = equal_layers(N, PAGE);
    many.definition = define_by_hand("m", many.layers, N);
    ck_assert_int_eq(
        scheduler_add_model(many.fixture.scheduler, &many.definition, &many.model, &refusal), 0);
    load_all(&many.fixture, many.model);
}

static void end(void)
{
    scheduler_free(many.fixture.scheduler);
    free(many.layers);
}

/* Returns what scheduler_request_in_portions does; the number of evictions must be bounded. */
static int go_on(struct verdict *verdict)
{
    struct scheduler_stats before = stats_of(&many.fixture);
    int r = scheduler_request_in_portions(many.fixture.scheduler, &many.large->layers[0],
                                          ON_FULL_EVICT, N, &many.room, verdict);
    struct scheduler_stats after = stats_of(&many.fixture);
    ck_assert_uint_le(after.evictions - before.evictions, SCHEDULER_PORTION);
    return r;
}

static bool is_resident(uint32_t index)
{
    return scheduler_layer_state(many.fixture.scheduler, &many.model->layers[index]) ==
           LAYER_RESIDENT;
}

START_TEST(the_same_victims_as_at_once)
{
    static const struct policy *const one_by_one[] = {&policy_lru, &policy_next_use};
    for (size_t i = 0; i < 2; i++) {
        struct verdict verdict;
        unsigned n_portions = 0;
        begin(one_by_one[i]);
        while (go_on(&verdict) > 0)
            n_portions++;
        ck_assert_uint_eq(n_portions, (LARGE - 1) / SCHEDULER_PORTION);
        ck_assert_int_eq(verdict.outcome, OUTCOME_RESERVED);
        ck_assert_int_eq(verdict.decision, DECISION_MUST_UNLOAD);
        ck_assert_uint_eq(verdict.victims.n_layers, LARGE);
        ck_assert_uint_eq(verdict.victims.pages, LARGE);
        ck_assert_uint_eq(stats_of(&many.fixture).decisions[DECISION_MUST_UNLOAD], 1);
        ck_assert(!is_resident(LARGE - 1) && is_resident(LARGE));
        verdict_done(&verdict);
        scheduler_complete(many.fixture.scheduler, &many.large->layers[0], N);
        end();
    }
}
END_TEST

/* Between two portions a victim-to-be is pinned, another is used, and a third is unloaded. */
START_TEST(between_two_portions)
{
    struct verdict verdict;
    begin(&policy_lru);
    ck_assert_int_eq(go_on(&verdict), 1);
    uint32_t next = SCHEDULER_PORTION;
    scheduler_pin(many.fixture.scheduler, &many.model->layers[next]);
    verdict = ask(&many.fixture, &many.model->layers[next + 1], ON_FULL_EVICT, N, OUTCOME_HIT,
                  DECISION_LOADED);
    ck_assert_int_eq(scheduler_unload_layer(many.fixture.scheduler, &many.model->layers[next + 2]),
                     0);
    while (go_on(&verdict) > 0)
        ck_assert(is_resident(next));
    ck_assert_int_eq(verdict.outcome, OUTCOME_RESERVED);
    ck_assert_uint_eq(verdict.victims.n_layers, LARGE - 1);
    ck_assert(is_resident(next) && is_resident(next + 1));
    ck_assert_uint_eq(free_pages(&many.fixture), 0);
    verdict_done(&verdict);
    scheduler_complete(many.fixture.scheduler, &many.large->layers[0], N);
    scheduler_unpin(many.fixture.scheduler, &many.model->layers[next]);
    end();
}
END_TEST

/* So many layers are pinned meanwhile that the large one cannot come any more. */
START_TEST(the_rest_is_pinned)
{
    struct verdict verdict;
    begin(&policy_lru);
    ck_assert_int_eq(go_on(&verdict), 1);
    for (uint32_t i = LARGE - 1; i < N; i++)
        scheduler_pin(many.fixture.scheduler, &many.model->layers[i]);
    ck_assert_int_eq(go_on(&verdict), 0);
    ck_assert_int_eq(verdict.outcome, OUTCOME_REFUSED);
    ck_assert_int_eq(verdict.decision, DECISION_BUSY);
    ck_assert(is_resident(SCHEDULER_PORTION));
    verdict_done(&verdict);
    for (uint32_t i = LARGE - 1; i < N; i++)
        scheduler_unpin(many.fixture.scheduler, &many.model->layers[i]);
    end();
}
END_TEST

/* A flush goes on to its end, also when the layer would fit before, and counts as one. */
START_TEST(a_flush_beside_a_pin)
{
    struct verdict verdict;
    begin(&policy_flush_all);
    scheduler_pin(many.fixture.scheduler, &many.model->layers[N - 1]);
    unsigned n_portions = 0;
    while (go_on(&verdict) > 0)
        n_portions++;
    ck_assert_uint_eq(n_portions, (N - 2) / SCHEDULER_PORTION);
    ck_assert(verdict.flushed);
    ck_assert_int_eq(verdict.decision, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, N - 1);
    struct scheduler_stats stats = stats_of(&many.fixture);
    ck_assert_uint_eq(stats.flushes, 1);
    ck_assert_uint_eq(stats.evictions, N - 1);
    ck_assert_uint_eq(stats.decisions[DECISION_MUST_UNLOAD], 1);
    ck_assert_uint_eq(stats.layers_resident, 1);
    verdict_done(&verdict);
    scheduler_complete(many.fixture.scheduler, &many.large->layers[0], N);
    scheduler_unpin(many.fixture.scheduler, &many.model->layers[N - 1]);
    end();
}
END_TEST

START_TEST(a_held_model_stays)
{
    begin(&policy_lru);
    scheduler_hold_model(many.large);
    ck_assert_int_eq(scheduler_remove_model(many.fixture.scheduler, many.large), -EBUSY);
    scheduler_let_go_of_model(many.large);
    ck_assert_int_eq(scheduler_remove_model(many.fixture.scheduler, many.large), 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("portions");
    TCase *tcase = tcase_create("portions");
    tcase_add_test(tcase, the_same_victims_as_at_once);
    tcase_add_test(tcase, between_two_portions);
    tcase_add_test(tcase, the_rest_is_pinned);
    tcase_add_test(tcase, a_flush_beside_a_pin);
    tcase_add_test(tcase, a_held_model_stays);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
