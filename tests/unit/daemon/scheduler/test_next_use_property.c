/* next-use in random cases, compared with a reference that checks every choice. */
#include "tests/unit/case_step.h"
#include "tests/unit/next_use_fixture.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

enum { CASES = 5000 };

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
    return layer_is_kept(layer) ? 3 : 2;
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
        model->kept->keep[i] = random_below(4) == 0;
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
    Suite *suite = suite_create("next-use-property");
    TCase *tcase = tcase_create("next-use-property");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_random_worlds);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
