/* A scheduler that continues after an earlier process: the same layers are resident, in the order
 * of their last use, and the same requests get the same answers. */
#include "tests/unit/policies.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

#include <check.h>

/* A layer's place, in one extent. */
static struct claim at(struct layer *layer, uint64_t first_page)
{
    return (struct claim){first_page, layer_definition(layer)->bytes / PAGE, &layer->allocation};
}

static void restore(struct fixture *fixture, const struct claim *claims, size_t n_claims)
{
    /* The scheduler owns the arena and allows others only to read it; only the daemon's composition
     * root has both. */
    struct arena *arena = (struct arena *)(uintptr_t)scheduler_arena(fixture->scheduler);
    ck_assert_int_eq(arena_restore(arena, claims, n_claims, arena_capacity_pages(arena)), 0);
}

START_TEST(nothing_is_adopted)
{
    struct fixture fixture;
    setup(&fixture, 10 * PAGE, &policy_lru);
    scheduler_adopt(fixture.scheduler, NULL, 0, 41, 12345);
    assert_log(&fixture, "");
    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.layers_resident, 0);
    ck_assert_uint_eq(stats.loaded_bytes, 12345);
    struct model *model = ADD_MODEL(&fixture, "m", 2);
    load(&fixture, &model->layers[0], 1);
    ck_assert_uint_eq(model->layers[0].fill_id, 42);
    ck_assert_uint_eq(stats_of(&fixture).loaded_bytes, 12345 + 2 * PAGE);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(counts_are_right)
{
    struct fixture fixture;
    setup(&fixture, 20 * PAGE, &policy_lru);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 3, 4), *b = ADD_MODEL(&fixture, "b", 5, 1);
    fixture.log[0] = '\0';
    restore(&fixture,
            (struct claim[]){at(&a->layers[2], 0), at(&b->layers[0], 6), at(&a->layers[0], 11)}, 3);
    struct layer *residents[] = {&a->layers[2], &a->layers[0], &b->layers[0]};
    scheduler_adopt(fixture.scheduler, residents, 3, 9, 100 * PAGE);
    assert_log(&fixture, "");

    struct scheduler_stats stats = stats_of(&fixture);
    ck_assert_uint_eq(stats.n_models, 2);
    ck_assert_uint_eq(stats.layers_resident, 3);
    ck_assert_uint_eq(stats.layers_loading, 0);
    ck_assert_uint_eq(stats.hits + stats.misses + stats.evictions + stats.flushes, 0);
    for (int i = 0; i < DECISION_COUNT; i++)
        ck_assert_uint_eq(stats.decisions[i], 0);
    ck_assert_uint_eq(stats.loaded_bytes, 100 * PAGE);
    uint64_t bytes;
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, a, &bytes), 2);
    ck_assert_uint_eq(bytes, 6 * PAGE);
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, b, &bytes), 1);
    ck_assert_uint_eq(bytes, 5 * PAGE);
    ck_assert_uint_eq(free_pages(&fixture), 9);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    assert_state(&fixture, &a->layers[0], LAYER_RESIDENT);
    assert_state(&fixture, &a->layers[1], LAYER_ABSENT);
    assert_state(&fixture, &a->layers[2], LAYER_RESIDENT);
    assert_state(&fixture, &b->layers[1], LAYER_ABSENT);

    /* They are hits for every request, and can be evicted like any other layer. */
    hit(&fixture, &a->layers[0], 1);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &a->layers[2]), 0);
    assert_log(&fixture, "e l2; ");
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, b), 0);
    assert_log(&fixture, "e l0; - b; ");
    ck_assert_uint_eq(stats_of(&fixture).layers_resident, 1);
    ck_assert_uint_eq(free_pages(&fixture), 18);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    assert_log(&fixture, "f 1; ");
    ck_assert_uint_eq(fixture.flushed_bytes, 2 * PAGE);
    assert_state(&fixture, &a->layers[0], LAYER_ABSENT);
    ck_assert_uint_eq(free_pages(&fixture), 20);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(the_least_recently_used_goes_first)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_lru);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 2, 2), *b = ADD_MODEL(&fixture, "b", 2, 2, 2);
    fixture.log[0] = '\0';
    restore(&fixture,
            (struct claim[]){at(&a->layers[0], 0), at(&a->layers[1], 2), at(&a->layers[2], 4)}, 3);
    /* In neither the order of their pages nor the order of the model. */
    struct layer *residents[] = {&a->layers[1], &a->layers[2], &a->layers[0]};
    scheduler_adopt(fixture.scheduler, residents, 3, 7, 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct verdict verdict =
            ask(&fixture, &b->layers[i], ON_FULL_EVICT, i, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
        ck_assert_uint_eq(verdict.victims.n_layers, 1);
        verdict_done(&verdict);
        assert_log(&fixture, ((const char *[]){"e l1; r l0; ", "e l2; r l1; ", "e l0; r l2; "})[i]);
        scheduler_complete(fixture.scheduler, &b->layers[i], i);
        ck_assert_uint_eq(b->layers[i].fill_id, 8 + i);
        fixture.log[0] = '\0';
    }
    scheduler_free(fixture.scheduler);
}
END_TEST

/* Layers that were leased before stay until they are released. */
START_TEST(what_is_pinned_then_stays)
{
    struct fixture fixture;
    setup(&fixture, 6 * PAGE, &policy_flush_all);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 2, 2), *b = ADD_MODEL(&fixture, "b", 4, 6);
    restore(&fixture, (struct claim[]){at(&a->layers[0], 0), at(&a->layers[1], 2)}, 2);
    struct layer *residents[] = {&a->layers[0], &a->layers[1]};
    scheduler_adopt(fixture.scheduler, residents, 2, 7, 0);
    scheduler_pin(fixture.scheduler, &a->layers[1]);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 2);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), -EBUSY);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, a), -EBUSY);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &a->layers[1]), -EBUSY);
    struct verdict verdict =
        ask(&fixture, &b->layers[1], ON_FULL_EVICT, 1, OUTCOME_REFUSED, DECISION_BUSY);
    verdict_done(&verdict);

    /* A flush that keeps it. */
    verdict =
        ask(&fixture, &b->layers[0], ON_FULL_EVICT, 1, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert(verdict.flushed);
    verdict_done(&verdict);
    scheduler_complete(fixture.scheduler, &b->layers[0], 1);
    assert_state(&fixture, &a->layers[0], LAYER_ABSENT);
    assert_state(&fixture, &a->layers[1], LAYER_RESIDENT);
    ck_assert_uint_eq(stats_of(&fixture).layers_resident, 2);
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, a, NULL), 1);

    scheduler_unpin(fixture.scheduler, &a->layers[1]);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, a), 0);
    ck_assert_uint_eq(free_pages(&fixture), 2);
    scheduler_free(fixture.scheduler);
}
END_TEST

enum { N_MODELS = 3, N_LAYERS = 8, CAPACITY_PAGES = 40, N_ROUNDS = 100, N_STEPS = 80 };

/* Layers and models of the two schedulers are matched by their indices. */
struct world {
    struct fixture fixture;
    struct model *models[N_MODELS];
};

static struct layer *layer_at(const struct world *world, uint64_t i)
{
    return &world->models[i / N_LAYERS]->layers[i % N_LAYERS];
}

static void begin(struct world *world, const struct policy *policy,
                  const uint64_t pages[N_MODELS][N_LAYERS])
{
    setup(&world->fixture, CAPACITY_PAGES * PAGE, policy);
    for (int i = 0; i < N_MODELS; i++)
        world->models[i] =
            add_model(&world->fixture, (const char *[]){"a", "b", "c"}[i], N_LAYERS, pages[i]);
    scheduler_set_observer(world->fixture.scheduler, NULL, NULL);
}

/* The result of a random step, as a number. */
static uint64_t step(struct world *world, uint64_t action, uint64_t i, uint64_t now_usec)
{
    struct scheduler *scheduler = world->fixture.scheduler;
    struct layer *layer = layer_at(world, i);
    if (action == 0)
        return (uint64_t)scheduler_unload_layer(scheduler, layer);
    if (action == 1)
        return (uint64_t)scheduler_reset(scheduler);
    struct verdict verdict;
    ck_assert_int_eq(scheduler_request(scheduler, layer, ON_FULL_EVICT, now_usec, &verdict), 0);
    uint64_t sum = (uint64_t)verdict.outcome * 31 + (uint64_t)verdict.decision;
    for (size_t k = 0; k < verdict.victims.n_layers; k++) {
        const struct layer *victim = verdict.victims.layers[k];
        sum = sum * 31 + (uint64_t)victim->model->definition->name[0] * N_LAYERS + victim->index;
    }
    if (verdict.outcome == OUTCOME_RESERVED)
        scheduler_complete(scheduler, layer, now_usec);
    verdict_done(&verdict);
    return sum * 31 + layer->fill_id;
}

static int compare_claims(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    return (x->first_page > y->first_page) - (x->first_page < y->first_page);
}

static void hand_over(const struct world *from, struct world *to, const uint64_t *order, size_t n)
{
    struct claim claims[CAPACITY_PAGES];
    struct layer *residents[N_MODELS * N_LAYERS];
    size_t n_claims = 0;
    uint64_t last_fill_id = 0;
    for (uint64_t i = 0; i < N_MODELS * N_LAYERS; i++) {
        struct layer *layer = layer_at(to, i);
        layer->fill_id = layer_at(from, i)->fill_id;
        if (last_fill_id < layer->fill_id)
            last_fill_id = layer->fill_id;
    }
    for (size_t i = 0; i < n; i++) {
        residents[i] = layer_at(to, order[i]);
        const struct allocation *allocation = &layer_at(from, order[i])->allocation;
        const struct extent *extent = allocation_extents(allocation);
        for (; extent < allocation_end(allocation); extent++)
            claims[n_claims++] =
                (struct claim){extent->first_page, extent->n_pages, &residents[i]->allocation};
    }
    qsort(claims, n_claims, sizeof *claims, compare_claims);
    restore(&to->fixture, claims, n_claims);
    scheduler_adopt(to->fixture.scheduler, residents, n, last_fill_id,
                    stats_of(&from->fixture).loaded_bytes);
}

static int compare_used(const void *a, const void *b, void *context)
{
    const struct world *world = context;
    const struct layer *x = layer_at(world, *(const uint64_t *)a);
    const struct layer *y = layer_at(world, *(const uint64_t *)b);
    return (x->used_usec > y->used_usec) - (x->used_usec < y->used_usec);
}

static size_t by_last_use(struct world *world, uint64_t *ret)
{
    size_t n = 0;
    for (uint64_t i = 0; i < N_MODELS * N_LAYERS; i++)
        if (scheduler_layer_state(world->fixture.scheduler, layer_at(world, i)) == LAYER_RESIDENT)
            ret[n++] = i;
    qsort_r(ret, n, sizeof *ret, compare_used, world);
    return n;
}

START_TEST(it_answers_as_the_one_before_would)
{
    ck_assert(random_begin());
    size_t n_adopted = 0;
    for (int round = 0; round < N_ROUNDS; round++) {
        const struct policy *policy = policies[(size_t)round % count_policies()];
        if (policy == &policy_expected_use)
            continue; /* it learns anew how the layers are used */
        struct world before = {0}, after = {0};
        uint64_t pages[N_MODELS][N_LAYERS], order[N_MODELS * N_LAYERS], now_usec = 0;
        for (int i = 0; i < N_MODELS * N_LAYERS; i++)
            pages[i / N_LAYERS][i % N_LAYERS] = random_below(8) + 1;
        begin(&before, policy, (const uint64_t(*)[N_LAYERS])pages);
        begin(&after, policy, (const uint64_t(*)[N_LAYERS])pages);
        for (uint64_t n = random_below(N_STEPS); n > 0; n--)
            step(&before, random_below(30), random_below(N_MODELS * N_LAYERS), ++now_usec);
        size_t n = by_last_use(&before, order);
        hand_over(&before, &after, order, n);
        n_adopted += n;
        bool differ = false; /* one assertion for all: assertions are slow */
        for (int i = 0; i < N_STEPS; i++) {
            uint64_t action = random_below(30), layer = random_below(N_MODELS * N_LAYERS);
            now_usec++;
            differ |=
                step(&before, action, layer, now_usec) != step(&after, action, layer, now_usec);
            struct scheduler_stats x = stats_of(&before.fixture), y = stats_of(&after.fixture);
            differ |= x.layers_resident != y.layers_resident || x.loaded_bytes != y.loaded_bytes ||
                      free_pages(&before.fixture) != free_pages(&after.fixture);
        }
        ck_assert(!differ);
        scheduler_free(before.fixture.scheduler);
        scheduler_free(after.fixture.scheduler);
    }
    ck_assert_uint_gt(n_adopted, N_ROUNDS); /* otherwise the test would prove little */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler-adopt");
    TCase *tcase = tcase_create("scheduler-adopt");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, nothing_is_adopted);
    tcase_add_test(tcase, counts_are_right);
    tcase_add_test(tcase, the_least_recently_used_goes_first);
    tcase_add_test(tcase, what_is_pinned_then_stays);
    tcase_add_test(tcase, it_answers_as_the_one_before_would);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
