/* expected-use in random cases, compared with a reference that knows the formula and counts the
 * passes by itself. */
#include "daemon/scheduler/scheduler.h"
#include "tests/unit/case_step.h"
#include "tests/unit/naive_expected_use.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <inttypes.h>

#include "common/definition/definition_parse.h"

enum { CASES = 40, REQUESTS = 2000, PAGE_BYTES = 4096, PAGES_MAX = 3 };

struct naive naive;

struct world {
    struct scheduler *scheduler;
    struct model *model;
    uint32_t n_layers, capacity_pages;
    struct unit_id units[LAYERS * UNITS]; /* of each layer */
    uint32_t pages[LAYERS * UNITS];
    uint32_t pass[UNITS], n_pass; /* what this pass has used */
    uint64_t now;
};

/* Groups of random sizes, named as the parts of a layer are. A group of one is not a part. */
static struct definition *define_groups(struct world *world)
{
    char text[32 * LAYERS * UNITS];
    size_t n = (size_t)sprintf(text, "{\"name\": \"m\", \"layers\": [");
    struct definition *definition;
    struct definition_problem problem;

    naive.n_layers = 1 + (uint32_t)random_below(LAYERS);
    for (uint32_t i = 0; i < naive.n_layers; i++) {
        naive.n_units[i] = 1 + (uint32_t)random_below(random_below(2) ? UNITS : 2);
        for (uint32_t j = 0; j < naive.n_units[i]; j++) {
            char part[16] = "";
            uint32_t k = world->n_layers++;
            if (naive.n_units[i] > 1)
                sprintf(part, ":%" PRIu32, j + 1);
            world->units[k] = (struct unit_id){i, j};
            world->pages[k] = 1 + (uint32_t)random_below(PAGES_MAX);
            n += (size_t)sprintf(text + n, "%s{\"name\": \"g%" PRIu32 "%s\", \"bytes\": %d}",
                                 k ? "," : "", i, part, (int)world->pages[k] * PAGE_BYTES);
        }
    }
    n += (size_t)sprintf(text + n, "]}");
    ck_assert_int_eq(definition_parse(text, n, &definition, &problem), 0);
    return definition;
}

static void setup(struct world *world)
{
    struct arena *arena;
    struct model_refusal refusal;

    naive = (struct naive){0};
    *world = (struct world){0};
    _cleanup_(definition_unrefp) struct definition *definition = define_groups(world);
    world->capacity_pages = PAGES_MAX + (uint32_t)random_below(world->n_layers * 2);
    ck_assert_int_eq(arena_new((uint64_t)world->capacity_pages * PAGE_BYTES, PAGE_BYTES, &arena),
                     0);
    ck_assert_int_eq(scheduler_new(arena, &policy_expected_use, &world->scheduler), 0);
    ck_assert_int_eq(scheduler_add_model(world->scheduler, definition, &world->model, &refusal), 0);
}

static bool is_evictable(const struct world *world, uint32_t i)
{
    const struct layer *layer = &world->model->layers[i];
    return scheduler_layer_state(world->scheduler, layer) == LAYER_RESIDENT && layer->n_pins == 0;
}

static void look_at_offers(const struct world *world)
{
    for (uint32_t i = 0; i < world->n_layers; i++)
        naive.offered[world->units[i].layer][world->units[i].index] = is_evictable(world, i);
}

static void begin_request(struct world *world, struct unit_id unit)
{
    bool is_new = world->n_pass == 0 || unit.layer != naive.at;

    for (uint32_t i = 0; i < world->n_pass; i++)
        is_new = is_new || world->pass[i] == unit.index;
    if (is_new && world->n_pass > 0) {
        naive_pass(naive.at, world->pass, world->n_pass);
        world->n_pass = 0;
    }
    naive.at = unit.layer;
}

/* Checks that each victim was, when its turn came, the furthest, unless a later one has made
 * another needless. */
static void check_victims(struct world *world, const struct victims *victims, uint64_t needed_pages)
{
    uint64_t pages = 0;

    for (size_t i = 0; i < victims->n_layers; i++) {
        struct unit_id unit = world->units[victims->layers[i]->index];
        double distance = naive_distance(unit), furthest = naive_furthest();
        ck_assert(naive.offered[unit.layer][unit.index]);
        if (victims->n_layers == 1 && needed_pages == 1)
            ck_assert_double_eq_tol(distance, furthest, furthest * 1e-4 + 1e-5);
        naive.offered[unit.layer][unit.index] = false;
        pages += world->pages[victims->layers[i]->index];
    }
    ck_assert_uint_eq(pages, victims->pages);
    ck_assert_uint_ge(pages, needed_pages);
    for (size_t i = 0; i < victims->n_layers; i++)
        ck_assert_uint_lt(pages - world->pages[victims->layers[i]->index], needed_pages);
}

/* A unit of any group, mostly one of the first. Returns whether it had victims. */
static bool request(struct world *world)
{
    uint32_t at = (uint32_t)random_below(world->n_layers);
    struct unit_id unit = world->units[at];
    struct layer *layer = &world->model->layers[at];
    struct verdict verdict;

    if (random_below(8) > 0 && unit.index > 0)
        layer = &world->model->layers[at -= (uint32_t)random_below(unit.index + 1)];
    unit = world->units[at];
    begin_request(world, unit);
    look_at_offers(world);
    uint64_t free_pages = arena_free_pages(scheduler_arena(world->scheduler));
    ck_assert_int_eq(
        scheduler_request(world->scheduler, layer, ON_FULL_ASK, ++world->now, &verdict), 0);
    bool evicts = verdict.decision == DECISION_MUST_UNLOAD;
    if (evicts) {
        check_victims(world, &verdict.victims, world->pages[at] - free_pages);
        verdict_done(&verdict);
        /* Of equals it may choose others now. */
        look_at_offers(world);
        ck_assert_int_eq(
            scheduler_request(world->scheduler, layer, ON_FULL_EVICT, world->now, &verdict), 0);
        check_victims(world, &verdict.victims, world->pages[at] - free_pages);
    }
    if (verdict.outcome != OUTCOME_REFUSED)
        world->pass[world->n_pass++] = unit.index;
    if (verdict.outcome == OUTCOME_RESERVED)
        scheduler_complete(world->scheduler, layer, world->now);
    verdict_done(&verdict);
    return evicts;
}

static void change_pins(struct world *world)
{
    uint32_t at = (uint32_t)random_below(world->n_layers);
    struct layer *layer = &world->model->layers[at];

    if (layer->n_pins > 0)
        scheduler_unpin(world->scheduler, layer);
    else if (is_evictable(world, at) && random_below(4) == 0)
        scheduler_pin(world->scheduler, layer);
    else if (random_below(50) == 0)
        scheduler_reset(world->scheduler);
    else if (random_below(20) == 0)
        scheduler_unload_layer(world->scheduler, layer);
}

START_TEST(test_victims)
{
    unsigned n_evicting = 0;

    for (int i = 0; i < CASES; i += case_step()) {
        struct world world;
        setup(&world);
        for (int j = 0; j < REQUESTS; j++) {
            n_evicting += request(&world);
            change_pins(&world);
        }
        scheduler_free(world.scheduler);
    }
    if (case_step() == 1) /* by chance a few cases may have arenas that hold all */
        ck_assert_uint_gt(n_evicting, CASES * REQUESTS / 20);
}
END_TEST

static struct layer *use(struct scheduler *scheduler, struct layer *layer, uint64_t now_usec)
{
    struct verdict verdict;

    ck_assert_int_eq(scheduler_request(scheduler, layer, ON_FULL_EVICT, now_usec, &verdict), 0);
    struct layer *victim = verdict.victims.n_layers > 0 ? verdict.victims.layers[0] : NULL;
    if (verdict.outcome == OUTCOME_RESERVED)
        scheduler_complete(scheduler, layer, now_usec);
    verdict_done(&verdict);
    return victim;
}

/* Of two models the one that rests gives way, and the one that works keeps its layers. */
START_TEST(test_resting_model)
{
    static const char text[] =
        "{\"name\": \"%s\", \"layers\": [{\"name\": \"a\", \"bytes\": 4096}, "
        "{\"name\": \"b\", \"bytes\": 4096}]}";
    struct model *models[3];
    struct scheduler *scheduler;
    struct model_refusal refusal;
    struct arena *arena;
    uint64_t now = 0;

    ck_assert_int_eq(arena_new(4 * PAGE_BYTES, PAGE_BYTES, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, &policy_expected_use, &scheduler), 0);
    for (int i = 0; i < 3; i++) {
        struct definition *definition;
        struct definition_problem problem;
        char json[sizeof text + 8], name[] = {(char)('0' + i), '\0'};
        int n = snprintf(json, sizeof json, text, name);
        ck_assert_int_eq(definition_parse(json, (size_t)n, &definition, &problem), 0);
        ck_assert_int_eq(scheduler_add_model(scheduler, definition, &models[i], &refusal), 0);
        definition_unref(definition);
    }
    for (int i = 0; i < 20; i++)
        for (unsigned j = 0; j < 4; j++)
            use(scheduler, &models[j / 2]->layers[j % 2], now += 1000);
    for (int i = 0; i < 20; i++)
        for (unsigned j = 0; j < 2; j++)
            use(scheduler, &models[1]->layers[j], now += 1000);
    const struct layer *victim = use(scheduler, &models[2]->layers[0], now += 1000);
    ck_assert_ptr_nonnull(victim);
    ck_assert_ptr_eq(victim->model, models[0]);
    scheduler_free(scheduler);
}
END_TEST

int main(void)
{
    if (!random_begin())
        return EXIT_FAILURE;
    Suite *suite = suite_create("expected-use-property");
    TCase *tcase = tcase_create("expected-use-property");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_victims);
    tcase_add_test(tcase, test_resting_model);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
