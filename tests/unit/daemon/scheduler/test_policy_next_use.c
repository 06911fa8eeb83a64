/* next-use: its victims in small cases, and in random ones compared with a reference that checks
 * every layer and every run. */
#include "daemon/scheduler/policy.h"

#include "tests/unit/case_step.h"
#include "tests/unit/define.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <string.h>

enum { MODELS = 4, LAYERS = 10, RUNS = 8, CAPACITY = 1 << 20, CASES = 5000 };

/* Pages are bytes. */
struct world {
    struct arena *arena;
    struct model *models[MODELS];
    struct run_list runs;
    struct run runs_by_value[RUNS];
    unsigned n_models, n_runs;
    struct layer *oldest, *newest;
};

static void setup(struct world *world)
{
    *world = (struct world){0};
    TAILQ_INIT(&world->runs);
    ck_assert_int_eq(arena_new(CAPACITY, 1, &world->arena), 0);
}

static void teardown(struct world *world)
{
    for (unsigned i = 0; i < world->n_models; i++)
        model_free(world->models[i], world->arena);
    arena_free(world->arena);
}

static struct model *add_model(struct world *world, uint32_t n_layers, const uint64_t *pages)
{
    char name[] = {(char)('a' + world->n_models), '\0'};
    _cleanup_(definition_unrefp) struct definition *definition = define(name, pages, n_layers);
    struct model *model = model_new(definition);
    if (!model || !(model->begins_bytes = calloc(n_layers, sizeof *model->begins_bytes)))
        ck_abort_msg("out of memory");
    for (uint32_t i = 1; i < n_layers; i++)
        model->begins_bytes[i] = model->begins_bytes[i - 1] + pages[i - 1];
    return world->models[world->n_models++] = model;
}
#define ADD_MODEL(world, ...)                                                    \
    add_model(world, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), \
              (const uint64_t[]){__VA_ARGS__})

/* The runs of a model have to be added one after the other. */
static void add_run_in_pass(struct world *world, struct model *model, uint32_t next,
                            uint64_t n_passes)
{
    struct run *run = &world->runs_by_value[world->n_runs++];
    *run = (struct run){.model = model, .next = &model->layers[next], .n_passes = n_passes};
    TAILQ_INSERT_TAIL(&world->runs, run, entry);
    model->n_runs++;
}

static void add_run(struct world *world, struct model *model, uint32_t next)
{
    add_run_in_pass(world, model, next, 0);
}

/* It has pages, but cannot be a victim yet. */
static void hold(struct world *world, struct layer *layer, enum layer_state state)
{
    if (arena_alloc(world->arena, layer_definition(layer)->bytes, &layer->allocation) < 0)
        ck_abort_msg("arena_alloc");
    layer->state = state;
}

static void list(struct world *world, struct layer *layer)
{
    layer->older = world->newest;
    *(world->newest ? &world->newest->newer : &world->oldest) = layer;
    world->newest = layer;
}

/* Adds an evictable layer, the most recently used so far. */
static void use(struct world *world, struct layer *layer)
{
    hold(world, layer, LAYER_RESIDENT);
    list(world, layer);
}

static void use_all(struct world *world, struct model *model)
{
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        use(world, &model->layers[i]);
}

static int choose(const struct world *world, const struct layer *target, uint64_t needed_pages,
                  struct victims *victims)
{
    struct policy_view view = {.arena = world->arena,
                               .oldest = world->oldest,
                               .runs = &world->runs,
                               .needed_pages = needed_pages};
    *victims = (struct victims){0};
    return target ? policy_choose_for_reading_ahead(&view, target, victims)
                  : policy_next_use.choose(&view, victims);
}

/* `expected`: "a3 b0", a model's letter and a layer's digit each; NULL: all victims together do not
 * suffice. */
static void assert_victims(const struct world *world, const struct layer *target,
                           uint64_t needed_pages, const char *expected)
{
    struct victims victims;
    char text[3 * MODELS * LAYERS + 1] = "";
    int r = choose(world, target, needed_pages, &victims);
    ck_assert_int_eq(r, expected ? 0 : -ENOSPC);
    for (size_t i = 0; i < victims.n_layers; i++)
        sprintf(text + strlen(text), "%s%s%u", i > 0 ? " " : "",
                victims.layers[i]->model->definition->name, victims.layers[i]->index);
    if (expected)
        ck_assert_str_eq(text, expected);
    victims_done(&victims);
}

START_TEST(test_without_runs)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 1, 2, 4);
    use(&world, &a->layers[2]);
    use(&world, &a->layers[0]);
    use(&world, &a->layers[1]);
    assert_victims(&world, NULL, 1, "a2");
    assert_victims(&world, NULL, 4, "a2");
    assert_victims(&world, NULL, 5, "a2 a0");
    /* With the last one, the first is not needed. */
    assert_victims(&world, NULL, 6, "a2 a1");
    assert_victims(&world, NULL, 7, "a2 a0 a1");
    teardown(&world);
}
END_TEST

START_TEST(test_one_run)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 2, 2, 2, 2, 2);
    use_all(&world, a);
    add_run(&world, a, 2);
    /* 1 is used last, then 0, 4, 3, 2. */
    assert_victims(&world, NULL, 2, "a1");
    assert_victims(&world, NULL, 3, "a1 a0");
    assert_victims(&world, NULL, 9, "a1 a0 a4 a3 a2");
    a->layers[1].keep = 1;
    a->layers[4].keep = 1;
    a->layers[0].ahead = 1;
    a->layers[1].ahead = 1; /* this decides */
    assert_victims(&world, NULL, 10, "a3 a2 a4 a1 a0");
    teardown(&world);
}
END_TEST

START_TEST(test_runs_of_one_model)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 1, 1, 1, 1, 1, 1);
    use_all(&world, a);
    add_run(&world, a, 5);
    add_run(&world, a, 1);
    add_run(&world, a, 1); /* two at the same place */
    /* From 1 on: 1 2 3 4 at 0 to 3; from 5 on: 5 0 at 0 and 1. Of those that are as far, any. */
    assert_victims(&world, NULL, 2, "a4 a3");
    struct victims victims;
    ck_assert_int_eq(choose(&world, NULL, 6, &victims), 0);
    ck_assert_uint_eq(victims.n_layers, 6);
    ck_assert_uint_eq(victims.layers[2]->index + victims.layers[3]->index, 2 + 0);
    ck_assert_uint_eq(victims.layers[4]->index + victims.layers[5]->index, 1 + 5);
    victims_done(&victims);
    teardown(&world);
}
END_TEST

/* Distances are in bytes, so a layer of a model with small layers is nearer than its index
 * suggests. */
START_TEST(test_runs_of_several_models)
{
    struct world world;
    setup(&world);
    struct model *none = ADD_MODEL(&world, 3, 3), *small = ADD_MODEL(&world, 1, 1, 1, 1),
                 *large = ADD_MODEL(&world, 10, 10);
    use_all(&world, small);
    use_all(&world, large);
    use_all(&world, none);
    add_run(&world, small, 0);
    add_run(&world, large, 1);
    assert_victims(&world, NULL, 1, "a0");
    assert_victims(&world, NULL, 5, "a0 a1");
    assert_victims(&world, NULL, 16, "a0 a1 c0");
    assert_victims(&world, NULL, 19, "a0 a1 c0 b3 b2 b1");
    teardown(&world);
}
END_TEST

START_TEST(test_reading_ahead)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 2, 2, 2, 2, 2, 2), *none = ADD_MODEL(&world, 2);
    add_run(&world, a, 1);
    for (uint32_t i = 0; i < 6; i++)
        if (i != 3)
            use(&world, &a->layers[i]);
    const struct layer *target = &a->layers[3];
    /* Later than 3 are 4, 5 and 0; not 1 and 2. */
    assert_victims(&world, target, 2, "a0");
    assert_victims(&world, target, 6, "a0 a5 a4");
    assert_victims(&world, target, 7, NULL);
    a->layers[5].keep = 1;
    assert_victims(&world, target, 4, "a0 a4");
    assert_victims(&world, target, 5, NULL);
    a->layers[4].ahead = 1;
    assert_victims(&world, target, 2, "a0");
    assert_victims(&world, target, 3, NULL);
    /* Layers that no run uses come first. */
    use(&world, &none->layers[0]);
    assert_victims(&world, target, 2, "b0");
    assert_victims(&world, target, 4, "b0 a0");
    /* A layer that is needed now may evict all others. */
    assert_victims(&world, NULL, 12, "b0 a0 a2 a1 a5 a4");
    teardown(&world);
}
END_TEST

START_TEST(test_spares_needless_victims)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 5, 9, 1, 3, 1);
    use_all(&world, a);
    add_run(&world, a, 0);
    assert_victims(&world, NULL, 1, "a4");
    assert_victims(&world, NULL, 4, "a4 a3");
    assert_victims(&world, NULL, 3, "a3"); /* then 4 is not needed */
    assert_victims(&world, NULL, 6, "a1"); /* 4, 3 and 2 are */
    assert_victims(&world, NULL, 10, "a4 a1");
    assert_victims(&world, NULL, 12, "a3 a1");
    teardown(&world);
}
END_TEST

START_TEST(test_passes_over_what_may_not_give_way)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 1, 1, 1, 1);
    add_run(&world, a, 0);
    use(&world, &a->layers[0]);
    use(&world, &a->layers[1]);
    hold(&world, &a->layers[2], LAYER_RESIDENT);
    a->layers[2].n_pins = 1;
    hold(&world, &a->layers[3], LAYER_LOADING);
    assert_victims(&world, NULL, 2, "a1 a0");
    /* Pages of an older generation belong to no layer. */
    arena_reset(world.arena);
    world.oldest = world.newest = NULL;
    use(&world, &a->layers[2]);
    a->layers[2].n_pins = 0;
    assert_victims(&world, NULL, 1, "a2");
    teardown(&world);
}
END_TEST

/* How many bytes the nearest run of its model uses before this layer. */
static uint64_t distance(const struct world *world, const struct layer *layer)
{
    uint64_t nearest = UINT64_MAX;
    for (unsigned i = 0; i < world->n_runs; i++) {
        const struct run *run = &world->runs_by_value[i];
        uint64_t bytes = 0;
        if (run->model != layer->model)
            continue;
        for (uint32_t at = run->next->index; at != layer->index;
             at = (at + 1) % run->model->definition->n_layers)
            bytes += run->model->definition->layers[at].bytes;
        nearest = bytes < nearest ? bytes : nearest;
    }
    return nearest;
}

struct candidate {
    struct layer *layer;
    uint64_t rank, distance; /* rank 0: no run uses it, and the distance is its place by last use */
};

/* The order of eviction; the furthest comes first. */
static int compare(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->rank != b->rank)
        return a->rank > b->rank ? 1 : -1;
    return (a->distance < b->distance) - (a->distance > b->distance);
}

/* By its model's schedule, if there is one, and by any of its runs, counted from the run's next
 * layer, or, for read-ahead, from its present one. A run that waits for a layer is at that
 * layer. */
static bool is_wanted(const struct world *world, const struct layer *target,
                      const struct layer *layer)
{
    const struct model *model = layer->model;
    uint32_t n_layers = model->definition->n_layers, n_steps = model->period * n_layers;
    bool wanted = false;
    for (unsigned i = 0; i < world->n_runs; i++) {
        const struct run *run = &world->runs_by_value[i];
        bool is_waiting = run->next->state == LAYER_LOADING && !run->next->ahead;
        uint64_t step =
            run->n_passes * n_layers + run->next->index + is_waiting + (target ? n_steps - 1 : 0);
        if (run->model == model)
            wanted = wanted || model->schedule[step % n_steps] >> layer->index & 1;
    }
    return wanted;
}

static uint64_t rank(const struct world *world, const struct layer *target,
                     const struct layer *layer)
{
    if (layer->ahead)
        return 4;
    if (layer->model->period > 0)
        return is_wanted(world, target, layer) ? 3 : 1;
    return layer->keep ? 3 : 2;
}

/* All evictable layers. False if two of them are equally good. */
static bool find_candidates(const struct world *world, const struct layer *target,
                            struct candidate *ret, size_t *ret_n)
{
    size_t n = 0, age = 0;
    for (struct layer *layer = world->oldest; layer; layer = layer->newer, age++) {
        struct candidate candidate = {layer, 0, MODELS * LAYERS - age};
        if (layer->model->n_runs > 0) {
            candidate.rank = rank(world, target, layer);
            candidate.distance = distance(world, layer);
        }
        if (!target || candidate.rank <= 1 ||
            (candidate.rank == 2 && candidate.distance > distance(world, target)))
            ret[n++] = candidate;
    }
    qsort(ret, n, sizeof *ret, compare);
    *ret_n = n;
    for (size_t i = 1; i < n; i++)
        if (compare(&ret[i - 1], &ret[i]) == 0)
            return false;
    return true;
}

/* Moves the victims to the front; 0 if they do not suffice. */
static size_t foretell(struct candidate *candidates, size_t n, uint64_t needed_pages)
{
    uint64_t pages = 0;
    size_t n_victims = 0;
    while (n_victims < n && pages < needed_pages)
        pages += candidates[n_victims++].layer->allocation.n_pages;
    if (pages < needed_pages)
        return 0;
    for (size_t i = n_victims; i-- > 0;) {
        uint64_t n_pages = candidates[i].layer->allocation.n_pages;
        if (pages - n_pages < needed_pages)
            continue;
        pages -= n_pages;
        memmove(&candidates[i], &candidates[i + 1], (--n_victims - i) * sizeof *candidates);
    }
    return n_victims;
}

static void draw_model(struct world *world)
{
    uint64_t pages[LAYERS], pages_max = random_below(2) ? 2000 : 4;
    uint32_t n_layers = 1 + (uint32_t)random_below(LAYERS);
    for (uint32_t i = 0; i < n_layers; i++)
        pages[i] = 1 + random_below(pages_max);
    struct model *model = add_model(world, n_layers, pages);
    model->period = n_layers <= MODEL_SCHEDULE_LAYERS_MAX ? (uint32_t)random_below(4) : 0;
    for (uint32_t i = 0; i < model->period * n_layers; i++)
        model->schedule[i] = (uint8_t)random_below(1U << n_layers);
    for (uint64_t n = random_below(RUNS / MODELS + 1); n > 0; n--)
        add_run_in_pass(world, model, (uint32_t)random_below(n_layers), random_below(5));
    for (uint32_t i = 0; i < n_layers; i++) {
        struct layer *layer = &model->layers[i];
        layer->keep = random_below(4) == 0;
        layer->ahead = random_below(8) == 0;
        uint64_t state = random_below(8);
        if (state < 2)
            continue;
        hold(world, layer, state == 2 ? LAYER_LOADING : LAYER_RESIDENT);
        layer->n_pins = state == 3;
    }
}

/* Lists the evictable layers, in random order of use. */
static uint64_t draw_uses(struct world *world)
{
    struct layer *layers[MODELS * LAYERS];
    uint64_t n_pages = 0;
    size_t n = 0;
    for (unsigned m = 0; m < world->n_models; m++)
        for (uint32_t i = 0; i < world->models[m]->definition->n_layers; i++) {
            struct layer *layer = &world->models[m]->layers[i];
            if (!arena_holds(world->arena, &layer->allocation) || layer->n_pins > 0 ||
                layer->state != LAYER_RESIDENT)
                continue;
            size_t at = random_below(n + 1);
            layers[n] = layers[at];
            layers[at] = layer;
            n++;
            n_pages += layer->allocation.n_pages;
        }
    for (size_t i = 0; i < n; i++)
        list(world, layers[i]);
    return n_pages;
}

/* An absent layer of a model with a run, or NULL. */
static const struct layer *draw_target(const struct world *world)
{
    if (world->n_runs == 0)
        return NULL;
    const struct model *model = world->runs_by_value[random_below(world->n_runs)].model;
    const struct layer *layer = &model->layers[random_below(model->definition->n_layers)];
    return arena_holds(world->arena, &layer->allocation) ? NULL : layer;
}

static bool check_choice(const struct world *world, const struct layer *target,
                         uint64_t needed_pages)
{
    struct candidate candidates[MODELS * LAYERS];
    struct victims victims;
    size_t n;
    bool unique = find_candidates(world, target, candidates, &n);
    int r = choose(world, target, needed_pages, &victims);
    size_t n_victims = foretell(candidates, n, needed_pages);
    uint64_t pages = 0;
    bool alike = r == (n_victims > 0 ? 0 : -ENOSPC);
    for (size_t i = 0; r == 0 && i < victims.n_layers; i++) {
        pages += victims.layers[i]->allocation.n_pages;
        alike &= !unique || (i < n_victims && victims.layers[i] == candidates[i].layer);
        for (size_t j = 0; j < i; j++)
            alike &= victims.layers[i] != victims.layers[j];
    }
    if (r == 0)
        alike &= pages == victims.pages && pages >= needed_pages &&
                 (!unique || victims.n_layers == n_victims);
    victims_done(&victims);
    ck_assert(alike);
    return unique;
}

START_TEST(test_random_worlds)
{
    unsigned n_unique = 0, n_targets = 0;
    for (unsigned i = 0; i < CASES; i += case_step()) {
        struct world world;
        setup(&world);
        for (uint64_t n = 1 + random_below(MODELS); n > 0; n--)
            draw_model(&world);
        uint64_t n_pages = draw_uses(&world);
        const struct layer *target = draw_target(&world);
        if (n_pages > 0) {
            n_unique += check_choice(&world, NULL, 1 + random_below(n_pages));
            if (target)
                check_choice(&world, target, 1 + random_below(n_pages));
            n_targets += target != NULL;
        }
        teardown(&world);
    }
    /* In enough cases the victims are unique. */
    ck_assert_uint_gt(n_unique, CASES / case_step() / 4);
    ck_assert_uint_gt(n_targets, CASES / case_step() / 10);
}
END_TEST

int main(void)
{
    if (!random_begin())
        return EXIT_FAILURE;
    Suite *suite = suite_create("policy-next-use");
    TCase *tcase = tcase_create("policy-next-use");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_without_runs);
    tcase_add_test(tcase, test_one_run);
    tcase_add_test(tcase, test_runs_of_one_model);
    tcase_add_test(tcase, test_runs_of_several_models);
    tcase_add_test(tcase, test_reading_ahead);
    tcase_add_test(tcase, test_spares_needless_victims);
    tcase_add_test(tcase, test_passes_over_what_may_not_give_way);
    tcase_add_test(tcase, test_random_worlds);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
