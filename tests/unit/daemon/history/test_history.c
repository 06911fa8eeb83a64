/* What the ring says about a layer, compared with what happened to it. */
#include "daemon/history/history.h"

#include "common/clock.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static const struct requester alice = {"LoadModel", 1000, 4711};

static struct history *begin(struct fixture *fixture, uint64_t n_pages, const struct policy *policy)
{
    struct history *history;
    setup(fixture, n_pages * PAGE, policy);
    ck_assert_int_eq(history_new(fixture->scheduler, &history), 0);
    scheduler_set_observer(fixture->scheduler, history_on_scheduler, history);
    return history;
}

static void end(struct fixture *fixture, struct history *history)
{
    scheduler_set_observer(fixture->scheduler, NULL, NULL);
    scheduler_free(fixture->scheduler);
    history_free(history);
}

static void bring(struct fixture *fixture, struct layer *layer)
{
    struct verdict verdict;
    scheduler_set_requester(fixture->scheduler, &alice);
    ck_assert_int_eq(scheduler_request(fixture->scheduler, layer, ON_FULL_EVICT,
                                       clock_monotonic_usec(), &verdict),
                     0);
    scheduler_set_requester(fixture->scheduler, NULL);
    verdict_done(&verdict);
    if (verdict.outcome == OUTCOME_RESERVED)
        scheduler_complete(fixture->scheduler, layer, clock_monotonic_usec());
}

/* Waits until both clocks have moved. */
static void tick(void)
{
    uint64_t from = clock_monotonic_usec();
    while (clock_monotonic_usec() <= from + 1)
        ;
}

static const struct history_entry *only(const struct history *history, const struct layer *layer)
{
    const struct history_entry *found[4];
    ck_assert_uint_eq(history_of_layer(history, layer, found, 4), 1);
    return found[0];
}

START_TEST(test_evicted)
{
    struct fixture fixture;
    struct history *history = begin(&fixture, 4, &policy_lru);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 2, 4), *b = ADD_MODEL(&fixture, "b", 2);
    const struct history_entry *found[4];

    bring(&fixture, &a->layers[0]);
    bring(&fixture, &a->layers[1]);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[0], found, 4), 0);
    bring(&fixture, &b->layers[0]);
    const struct history_entry *entry = only(history, &a->layers[0]);
    ck_assert_int_eq(entry->kind, HISTORY_EVICTED);
    ck_assert_str_eq(entry->text, "b/l0");
    ck_assert_str_eq(entry->requester.method, "LoadModel");
    ck_assert_int_eq(entry->requester.pid, 4711);
    ck_assert_ptr_eq(entry->policy, &policy_lru);
    ck_assert_uint_eq(entry->bytes, 2 * PAGE);
    ck_assert_uint_eq(history_evicted_usec(history, &a->layers[0]), entry->mono_usec);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[1], found, 4), 0);
    ck_assert_uint_eq(history_of_layer(history, &b->layers[0], found, 4), 0);

    /* It comes back, and is then evicted on request. */
    tick();
    bring(&fixture, &a->layers[0]);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[0], found, 4), 0);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &a->layers[0]), 0);
    entry = only(history, &a->layers[0]);
    ck_assert_str_eq(entry->text, "");
    ck_assert_ptr_null(entry->policy);
    ck_assert_ptr_null(entry->requester.method);
    ck_assert(!entry->trimmed);

    /* And because memory is short. */
    struct trim_walk walk = {0};
    tick();
    bring(&fixture, &a->layers[0]);
    tick();
    ck_assert(!scheduler_trim_portion(fixture.scheduler, &walk, UINT64_MAX));
    entry = only(history, &a->layers[0]);
    ck_assert_int_eq(entry->kind, HISTORY_EVICTED);
    ck_assert(entry->trimmed);
    end(&fixture, history);
}
END_TEST

/* Refusals and abandoned loads after the eviction come first. */
START_TEST(test_refused)
{
    struct fixture fixture;
    struct history *history = begin(&fixture, 4, &policy_lru);
    struct model *a = ADD_MODEL(&fixture, "a", 2), *b = ADD_MODEL(&fixture, "b", 4);
    const struct history_entry *found[4];
    struct verdict verdict;

    bring(&fixture, &a->layers[0]);
    bring(&fixture, &b->layers[0]);
    scheduler_pin(fixture.scheduler, &b->layers[0]);
    bring(&fixture, &a->layers[0]);
    scheduler_unpin(fixture.scheduler, &b->layers[0]);
    ck_assert_int_eq(scheduler_request(fixture.scheduler, &a->layers[0], ON_FULL_EVICT,
                                       clock_monotonic_usec(), &verdict),
                     0);
    verdict_done(&verdict);
    scheduler_abandon(fixture.scheduler, &a->layers[0]);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[0], found, 4), 3);
    ck_assert_int_eq(found[0]->kind, HISTORY_ABANDONED);
    ck_assert_int_eq(found[1]->kind, HISTORY_REFUSED);
    ck_assert_int_eq(found[1]->decision, DECISION_BUSY);
    ck_assert_str_eq(found[1]->text, "l0");
    ck_assert_int_eq(found[2]->kind, HISTORY_EVICTED);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[0], found, 2), 3);
    ck_assert_int_eq(found[1]->kind, HISTORY_EVICTED);
    end(&fixture, history);
}
END_TEST

/* Each layer names the flush that evicted it: not those that it survived, nor later ones. */
START_TEST(test_flushed)
{
    struct fixture fixture;
    struct history *history = begin(&fixture, 4, &policy_flush_all);
    struct model *a = ADD_MODEL(&fixture, "a", 1, 1, 1, 1, 1, 3);
    const struct history_entry *found[4];
    struct layer *held = &a->layers[0], *gone = &a->layers[1], *big = &a->layers[5];

    bring(&fixture, held);
    bring(&fixture, gone);
    scheduler_pin(fixture.scheduler, held);
    tick();
    bring(&fixture, big); /* flush 1 */
    const struct history_entry *first = only(history, gone);
    ck_assert_int_eq(first->kind, HISTORY_FLUSHED);
    ck_assert_uint_eq(first->n_layers, 1);
    ck_assert_str_eq(first->text, "a/l5");
    ck_assert_uint_eq(history_of_layer(history, held, found, 4), 0);

    scheduler_unpin(fixture.scheduler, held);
    tick();
    bring(&fixture, &a->layers[2]); /* flush 2 */
    const struct history_entry *second = only(history, held);
    ck_assert_uint_gt(second->number, first->number);
    ck_assert_str_eq(second->text, "a/l2");
    ck_assert_ptr_eq(only(history, big), second);

    tick();
    bring(&fixture, big);
    tick();
    bring(&fixture, &a->layers[3]); /* flush 3 */
    ck_assert_ptr_eq(only(history, gone), first);
    ck_assert_ptr_eq(only(history, held), second);
    ck_assert_uint_gt(only(history, big)->number, second->number);
    ck_assert_uint_eq(history_evicted_usec(history, gone), first->mono_usec);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[4], found, 4), 0); /* never loaded */
    end(&fixture, history);
}
END_TEST

/* What an earlier model of the same name went through is not told of the new one. */
START_TEST(test_models)
{
    struct fixture fixture;
    struct history *history = begin(&fixture, 4, &policy_lru);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 2);
    const struct history_entry *found[4];

    ck_assert_uint_eq(history_of_model(history, "a", found, 4), 0);
    bring(&fixture, &a->layers[1]);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &a->layers[1]), 0);
    ck_assert_uint_eq(history_of_model(history, "a", found, 4), 1);
    ck_assert_uint_eq(found[0]->layer, 1);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, a), 0);
    ck_assert_uint_eq(history_of_model(history, "a", found, 4), 1);
    ck_assert_int_eq(found[0]->kind, HISTORY_REMOVED);
    ck_assert_uint_eq(history_of_model(history, "b", found, 4), 0);

    a = ADD_MODEL(&fixture, "a", 2, 2);
    ck_assert_uint_eq(history_of_model(history, "a", found, 4), 0);
    ck_assert_uint_eq(history_of_layer(history, &a->layers[1], found, 4), 0);
    end(&fixture, history);
}
END_TEST

/* Random loads and evictions, far more than the ring holds: the last eviction of a layer is found
 * as long as it is among the last entries, and never a wrong one. */
START_TEST(test_ring)
{
    enum { N_LAYERS = 700, STEPS = 90000, SELDOM = 25000 };
    struct layer_definition *layers = equal_layers(N_LAYERS, PAGE);
    struct definition definition = define_by_hand("m", layers, N_LAYERS);
    static struct {
        uint64_t number, usec;
    } last[N_LAYERS];
    struct fixture fixture;
    struct history *history = begin(&fixture, N_LAYERS, &policy_lru);
    struct model_refusal refusal;
    struct model *model;
    const struct history_entry *found[4];
    uint64_t random = 1, n_entries = 1;
    unsigned n_forgotten = 0;

    ck_assert_int_eq(scheduler_add_model(fixture.scheduler, &definition, &model, &refusal), 0);
    for (unsigned step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        /* The last layer changes so seldom that its eviction is forgotten. */
        unsigned i = step % SELDOM == 0 ? N_LAYERS - 1 : (unsigned)(random >> 33) % (N_LAYERS - 1);
        struct layer *layer = &model->layers[i];
        if (scheduler_layer_state(fixture.scheduler, layer) == LAYER_ABSENT) {
            uint64_t usec = history_evicted_usec(history, layer);
            bool is_kept = last[i].number > 0 && n_entries - last[i].number < HISTORY_ENTRIES_MAX;
            n_forgotten += last[i].number > 0 && !is_kept;
            if (usec != (is_kept ? last[i].usec : 0))
                ck_abort_msg("step %u, layer %u", step, i);
            bring(&fixture, layer);
        } else {
            scheduler_unload_layer(fixture.scheduler, layer);
            last[i].number = ++n_entries;
            if (history_of_layer(history, layer, found, 4) != 1)
                ck_abort_msg("step %u, layer %u", step, i);
            last[i].usec = found[0]->mono_usec;
        }
    }
    ck_assert_uint_gt(n_entries, HISTORY_ENTRIES_MAX);
    ck_assert_uint_gt(n_forgotten, 0);
    ck_assert_uint_eq(history_of_model(history, "m", found, 4), HISTORY_ENTRIES_MAX);
    end(&fixture, history);
    free(layers);
}
END_TEST

/* A long name is cut between two characters. */
START_TEST(test_long_name)
{
    struct fixture fixture;
    struct history *history = begin(&fixture, 1, &policy_lru);
    char name[DEFINITION_NAME_MAX + 1] = "";
    for (unsigned i = 0; i < 100; i++)
        strcat(name, "\xc3\xa4");
    struct model *a = ADD_MODEL(&fixture, "a", 1), *b = ADD_MODEL(&fixture, name, 1);
    bring(&fixture, &a->layers[0]);
    bring(&fixture, &b->layers[0]);
    const char *text = only(history, &a->layers[0])->text;
    size_t n = strlen(text);
    ck_assert_uint_eq(n % 2, 1); /* whole characters of two bytes, and the mark of three */
    ck_assert_str_eq(text + n - 3, "\xe2\x80\xa6");
    ck_assert_uint_gt(n, HISTORY_TEXT_MAX - 4);
    end(&fixture, history);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("history");
    TCase *tcase = tcase_create("history");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_evicted);
    tcase_add_test(tcase, test_refused);
    tcase_add_test(tcase, test_flushed);
    tcase_add_test(tcase, test_models);
    tcase_add_test(tcase, test_ring);
    tcase_add_test(tcase, test_long_name);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
