/* Random operations on scheduler and arena, compared with the naive model, which predicts every
 * answer. For a while a clone gets the same operations, and then it is replaced. */
#include "daemon/scheduler/scheduler.h"
#include "tests/unit/define.h"
#include "tests/unit/naive_scheduler.h"
#include "tests/unit/policies.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/set_run_plan.h"

enum { OPERATIONS = 100000, OPERATIONS_EACH = 2000 };

static void do_request(struct world *world)
{
    struct layer *layer = random_layer(world, LAYER_ABSENT, true), *residents[MODELS * LAYERS],
                 *loading[MODELS * LAYERS];
    if (!layer)
        return;
    struct naive_layer *naive = naive_of(world, layer);
    enum on_full on_full = random_below(4) ? ON_FULL_EVICT : ON_FULL_ASK;
    uint64_t available = free_pages(world), evictable = 0;
    size_t n_residents = by_use(world, LAYER_RESIDENT, residents), n_victims = 0;
    size_t n_loading = by_use(world, LAYER_LOADING, loading);
    for (size_t i = 0; i < n_residents; i++)
        evictable += naive_of(world, residents[i])->pages;

    foretell_function *foretell = find_foretelling(world->policy);
    enum outcome outcome = OUTCOME_RESERVED;
    enum decision decision = DECISION_LOADED;
    if (naive->state != LAYER_ABSENT) {
        outcome = naive->state == LAYER_RESIDENT ? OUTCOME_HIT : OUTCOME_LOADING;
    } else if (naive->pages > available + evictable) {
        outcome = OUTCOME_REFUSED;
        decision = DECISION_BUSY;
    } else if (naive->pages > available) {
        outcome = on_full == ON_FULL_EVICT ? OUTCOME_RESERVED : OUTCOME_REFUSED;
        decision = DECISION_MUST_UNLOAD;
        if (foretell)
            n_victims = foretell(world, residents, n_residents, naive->pages - available);
    }

    struct verdict verdict;
    EQUAL(scheduler_can_place(world->scheduler, layer), decision != DECISION_BUSY);
    EQUAL(scheduler_request(world->scheduler, layer, on_full, world->now, &verdict), 0);
    EQUAL(verdict.outcome, outcome);
    EQUAL(verdict.decision, decision);
    EQUAL(verdict.requested_bytes, naive->pages * world->page_bytes);
    EQUAL(verdict.available_bytes, available * world->page_bytes);
    EQUAL(verdict.capacity_bytes, world->capacity_pages * world->page_bytes);
    EQUAL(verdict.ahead, naive->state != LAYER_ABSENT && naive->ahead);
    if (!foretell && decision == DECISION_MUST_UNLOAD) {
        check_victims(world, &verdict.victims, naive->pages - available);
        n_victims = verdict.victims.n_layers;
        for (size_t i = 0; i < n_victims; i++)
            residents[i] = verdict.victims.layers[i];
    }
    EQUAL(verdict.victims.n_layers, n_victims);
    for (size_t i = 0; i < n_victims; i++)
        EQUAL(verdict.victims.layers[i], residents[i]);
    EQUAL(verdict.n_blockers, decision == DECISION_BUSY ? n_loading : 0);
    for (size_t i = 0; i < verdict.n_blockers; i++)
        EQUAL(verdict.blockers[i], loading[i]);
    bool evicted = outcome == OUTCOME_RESERVED && decision == DECISION_MUST_UNLOAD;
    bool flushed = evicted && world->policy->everything;
    EQUAL(verdict.flushed, flushed);
    if (world->shadow)
        assert_alike(world, layer, on_full, &verdict);
    verdict_done(&verdict);

    if (naive->state != LAYER_ABSENT && naive->ahead) {
        naive->ahead = false; /* it was a miss before */
    } else {
        *(outcome == OUTCOME_HIT ? &world->stats.hits : &world->stats.misses) += 1;
        if (outcome == OUTCOME_HIT || decision != DECISION_LOADED)
            world->stats.decisions[decision]++;
    }
    world->n_refused += outcome == OUTCOME_REFUSED;
    world->stats.evictions += evicted ? n_victims : 0;
    world->stats.flushes += flushed;
    for (size_t i = 0; evicted && i < n_victims; i++)
        give_up_pages(world, residents[i]);
    if (outcome == OUTCOME_RESERVED)
        take_pages(world, layer);
    if (outcome == OUTCOME_HIT)
        naive->used = naive->order = world->now;
}

static void do_report(struct world *world, bool complete)
{
    struct layer *layer = random_layer(world, LAYER_LOADING, false);
    if (!layer)
        return;
    struct naive_layer *naive = naive_of(world, layer);
    if (!complete) {
        if (world->shadow)
            scheduler_abandon(world->shadow, shadow_of(world, layer));
        scheduler_abandon(world->scheduler, layer);
        give_up_pages(world, layer);
        return;
    }
    if (world->shadow)
        scheduler_complete(world->shadow, shadow_of(world, layer), world->now);
    scheduler_complete(world->scheduler, layer, world->now);
    naive->state = LAYER_RESIDENT;
    naive->used = naive->order = world->now;
    world->stats.decisions[DECISION_LOADED]++;
    world->stats.loads++;
    world->stats.reloads += naive->was_loaded;
    world->stats.loaded_bytes += naive->bytes;
    naive->was_loaded = true;
}

static void do_unload(struct world *world)
{
    struct layer *layer = random_layer(world, LAYER_ABSENT, true);
    if (!layer)
        return;
    const struct naive_layer *naive = naive_of(world, layer);
    int expected = naive->state == LAYER_LOADING || naive->n_pins > 0 ? -EBUSY : 0;
    if (world->shadow)
        EQUAL(scheduler_unload_layer(world->shadow, shadow_of(world, layer)), expected);
    EQUAL(scheduler_unload_layer(world->scheduler, layer), expected);
    if (expected == 0)
        give_up_pages(world, layer);
}

static void do_pin(struct world *world)
{
    struct layer *layer = random_layer(world, LAYER_RESIDENT, false);
    if (!layer)
        return;
    struct naive_layer *naive = naive_of(world, layer);
    if (naive->n_pins > 0 && random_below(4) > 0) {
        /* A clone holds a layer once, however often it is held. */
        world->shadow = naive->n_pins > 1 ? scheduler_free(world->shadow) : world->shadow;
        if (world->shadow)
            scheduler_unpin(world->shadow, shadow_of(world, layer));
        scheduler_unpin(world->scheduler, layer);
        if (--naive->n_pins == 0)
            naive->order = world->now;
    } else {
        if (world->shadow)
            scheduler_pin(world->shadow, shadow_of(world, layer));
        scheduler_pin(world->scheduler, layer);
        naive->n_pins++;
    }
}

static bool has_runs(const struct world *world, const struct model *model)
{
    for (unsigned i = 0; i < RUNS; i++)
        if (world->runs[i].run && world->runs[i].run->model == model)
            return true;
    return false;
}

/* Victims of a read-ahead are recognised because they are absent. Returns their number. */
static uint64_t evict_observed(struct world *world)
{
    uint64_t n = 0;
    for (unsigned m = 0; m < MODELS; m++)
        for (uint32_t i = 0; world->models[m] && i < world->models[m]->definition->n_layers; i++) {
            const struct naive_layer *naive = &world->layers[m][i];
            if (naive->state != LAYER_RESIDENT || naive->observed != LAYER_ABSENT)
                continue;
            EQUAL(naive->n_pins, 0);
            if (has_runs(world, world->models[m]))
                EQUAL(naive->ahead || naive->keep, false);
            give_up_pages(world, &world->models[m]->layers[i]);
            n++;
        }
    return n;
}

static void do_read_ahead(struct world *world, const struct naive_run *naive_run)
{
    struct run *run = naive_run->run;
    const struct model *model = run->model;
    struct layer *layer = NULL, *missing = NULL;
    const struct naive_layer *next = naive_of(world, &model->layers[naive_run->next]);
    bool is_wanted = next->state == LAYER_LOADING && !next->ahead;
    for (uint32_t i = 0; !missing && i < model->definition->n_layers && i < model->look_ahead;
         i++) {
        missing = &model->layers[(naive_run->next + is_wanted + i) % model->definition->n_layers];
        if (naive_of(world, missing)->state != LAYER_ABSENT)
            missing = NULL;
    }
    EQUAL(scheduler_read_ahead(world->scheduler, run, &layer), 0);
    if (!layer)
        return;
    EQUAL(layer, missing);
    EQUAL(world->policy, &policy_next_use);
    EQUAL(model->depth > 0, true);
    world->shadow = scheduler_free(world->shadow);
    uint64_t n_evicted = evict_observed(world);
    world->stats.misses++;
    world->stats.evictions += n_evicted;
    world->stats.decisions[DECISION_MUST_UNLOAD] += n_evicted > 0;
    take_pages(world, layer);
    naive_of(world, layer)->ahead = true;
}

static void do_plan(struct world *world, struct model *model)
{
    bool keep[LAYERS];
    struct run_plan plan = {keep, (uint32_t)random_below(LAYERS),
                            (uint32_t)random_below(RUN_DEPTH_MAX + 1)};
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        keep[i] = world->layers[slot_of(model)][i].keep = random_below(3) == 0;
    world->shadow = scheduler_free(world->shadow);
    set_run_plan(world->scheduler, model, &plan);
}

static void do_run(struct world *world)
{
    struct naive_run *naive = &world->runs[random_below(RUNS)];
    struct model *model = world->models[random_below(MODELS)];
    uint64_t choice = random_below(16);
    if (!naive->run) {
        if (!model)
            return;
        world->shadow = scheduler_free(world->shadow);
        *naive = (struct naive_run){0};
        EQUAL(scheduler_begin_run(world->scheduler, model, &naive->run), 0);
        world->stats.n_runs++;
        do_plan(world, model);
    } else if (choice == 0) {
        world->shadow = scheduler_free(world->shadow);
        naive->run = scheduler_end_run(world->scheduler, naive->run);
        world->stats.n_runs--;
    } else if (choice == 1) {
        do_plan(world, naive->run->model);
    } else if (choice < 9) {
        world->shadow = scheduler_free(world->shadow);
        scheduler_run_enter(world->scheduler, naive->run, world->now);
        if (++naive->next == naive->run->model->definition->n_layers) {
            naive->next = 0;
            naive->n_passes++;
        }
        do_read_ahead(world, naive);
    } else {
        do_read_ahead(world, naive);
    }
    if (naive->run) {
        EQUAL(naive->run->next, &naive->run->model->layers[naive->next]);
        EQUAL(naive->run->n_passes, naive->n_passes);
    }
}

static void do_add(struct world *world, unsigned slot)
{
    bool too_large = random_below(8) == 0;
    uint32_t n_layers = 1 + (uint32_t)random_below(LAYERS);
    uint64_t bytes[LAYERS];
    for (uint32_t i = 0; i < n_layers; i++) {
        uint64_t pages = 1 + random_below(1 + random_below(world->capacity_pages));
        bytes[i] = (pages - 1) * world->page_bytes + 1 + random_below(world->page_bytes);
    }
    if (too_large)
        bytes[random_below(n_layers)] = world->capacity_pages * world->page_bytes + 1;

    char name[] = {'m', (char)('0' + slot), '\0'};
    _cleanup_(definition_unrefp) struct definition *definition = define(name, bytes, n_layers);
    struct model_refusal refusal;
    int r = scheduler_add_model(world->scheduler, definition, &world->models[slot], &refusal);
    EQUAL(r, too_large ? -EPERM : 0);
    if (too_large) {
        EQUAL(refusal.error, ERROR_OUT_OF_MEMORY);
        world->stats.decisions[DECISION_OUT_OF_MEMORY]++;
        world->n_refused++;
        return;
    }
    for (uint32_t i = 0; i < n_layers; i++)
        world->layers[slot][i] = (struct naive_layer){
            .bytes = bytes[i], .pages = (bytes[i] + world->page_bytes - 1) / world->page_bytes};
    world->stats.n_models++;
}

static void do_model(struct world *world)
{
    unsigned slot = (unsigned)random_below(MODELS);
    struct model *model = world->models[slot];
    world->shadow = scheduler_free(world->shadow);
    if (!model) {
        do_add(world, slot);
        return;
    }
    bool busy = has_runs(world, model);
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        busy |= world->layers[slot][i].state == LAYER_LOADING || world->layers[slot][i].n_pins > 0;
    if (busy) {
        EQUAL(scheduler_remove_model(world->scheduler, model), -EBUSY);
        return;
    }
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        give_up_pages(world, &model->layers[i]);
    struct model_stats stats = scheduler_model_stats(world->scheduler, model);
    add_up(&world->removed, &stats);
    EQUAL(scheduler_remove_model(world->scheduler, model), 0);
    world->models[slot] = NULL;
    world->stats.n_models--;
}

static void do_reset(struct world *world)
{
    struct layer *layers[MODELS * LAYERS];
    int expected =
        by_use(world, LAYER_LOADING, layers) > 0 || is_anything_pinned(world) ? -EBUSY : 0;
    if (world->shadow)
        EQUAL(scheduler_reset(world->shadow), expected);
    EQUAL(scheduler_reset(world->scheduler), expected);
    if (expected < 0)
        return;
    size_t n = by_use(world, LAYER_RESIDENT, layers);
    for (size_t i = 0; i < n; i++)
        give_up_pages(world, layers[i]);
}

static void do_policy(struct world *world)
{
    const struct policy *before = world->policy;
    world->policy = policies[random_below(count_policies())];
    if (world->policy == &policy_expected_use && before != world->policy)
        world->shadow = scheduler_free(world->shadow); /* it does not know the uses */
    scheduler_set_policy(world->scheduler, world->policy);
    if (world->shadow)
        scheduler_set_policy(world->shadow, world->policy);
}

static void operate(struct world *world)
{
    uint64_t choice = random_below(100);
    world->now++;
    if (choice < 48)
        do_request(world);
    else if (choice < 66)
        do_report(world, true);
    else if (choice < 69)
        do_report(world, false);
    else if (choice < 75)
        do_pin(world);
    else if (choice < 89)
        do_run(world);
    else if (choice < 92)
        do_unload(world);
    else if (choice < 94)
        do_model(world);
    else if (choice < 96)
        do_reset(world);
    else if (choice < 98)
        do_policy(world);
    else
        replace_shadow(world);
}

START_TEST(test_random_operations)
{
    for (int n = 0; n < OPERATIONS; n += OPERATIONS_EACH) {
        struct world world = {.page_bytes = 1ULL << (12 + random_below(10)),
                              .capacity_pages = 1 + random_below(PAGES_MAX),
                              .policy = &policy_flush_all};
        struct arena *arena = NULL;
        EQUAL(arena_new(world.capacity_pages * world.page_bytes, world.page_bytes, &arena), 0);
        EQUAL(scheduler_new(arena, world.policy, &world.scheduler), 0);
        scheduler_set_observer(world.scheduler, observe, &world);
        for (int i = 0; i < OPERATIONS_EACH; i++) {
            operate(&world);
            check_world(&world);
        }
        scheduler_free(world.shadow);
        scheduler_free(world.scheduler);
    }
}
END_TEST

int main(void)
{
    if (!random_begin())
        return EXIT_FAILURE;
    Suite *suite = suite_create("scheduler-property");
    TCase *tcase = tcase_create("scheduler-property");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, test_random_operations);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
