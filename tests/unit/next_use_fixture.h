/* Models, runs and uses that next-use chooses among, without a scheduler. */
#pragma once

#include "daemon/scheduler/policy.h"
#include "tests/unit/define.h"
#include <errno.h>
#include <string.h>

enum { MODELS = 4, LAYERS = 10, RUNS = 8, CAPACITY = 1 << 20 };

/* Pages are bytes. */
struct world {
    struct arena *arena;
    struct model *models[MODELS];
    struct run_list runs;
    struct run runs_by_value[RUNS];
    unsigned n_models, n_runs;
    struct layer *oldest, *newest;
};

static inline void setup(struct world *world)
{
    *world = (struct world){0};
    TAILQ_INIT(&world->runs);
    ck_assert_int_eq(arena_new(CAPACITY, 1, &world->arena), 0);
}

static inline void teardown(struct world *world)
{
    for (unsigned i = 0; i < world->n_models; i++)
        model_free(world->models[i], world->arena);
    arena_free(world->arena);
}

static inline struct model *add_model(struct world *world, uint32_t n_layers, const uint64_t *pages)
{
    char name[] = {(char)('a' + world->n_models), '\0'};
    _cleanup_(definition_unrefp) struct definition *definition = define(name, pages, n_layers);
    struct model *model = model_new(definition);
    if (!model || !(model->kept = kept_layers_new(n_layers)))
        ck_abort_msg("out of memory");
    return world->models[world->n_models++] = model;
}
#define ADD_MODEL(world, ...)                                                    \
    add_model(world, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), \
              (const uint64_t[]){__VA_ARGS__})

/* The runs of a model have to be added one after the other. */
static inline void add_run_in_pass(struct world *world, struct model *model, uint32_t next,
                                   uint64_t n_passes)
{
    struct run *run = &world->runs_by_value[world->n_runs++];
    *run = (struct run){.model = model, .next = &model->layers[next], .n_passes = n_passes};
    TAILQ_INSERT_TAIL(&world->runs, run, entry);
    model->n_runs++;
}

static inline void add_run(struct world *world, struct model *model, uint32_t next)
{
    add_run_in_pass(world, model, next, 0);
}

/* It has pages, but cannot be a victim yet. */
static inline void hold(struct world *world, struct layer *layer, enum layer_state state)
{
    if (arena_alloc(world->arena, layer_definition(layer)->bytes, &layer->allocation) < 0)
        ck_abort_msg("arena_alloc");
    layer->state = state;
}

static inline void list(struct world *world, struct layer *layer)
{
    layer->older = world->newest;
    *(world->newest ? &world->newest->newer : &world->oldest) = layer;
    world->newest = layer;
}

/* Adds an evictable layer, the most recently used so far. */
static inline void use(struct world *world, struct layer *layer)
{
    hold(world, layer, LAYER_RESIDENT);
    list(world, layer);
}

static inline void use_all(struct world *world, struct model *model)
{
    for (uint32_t i = 0; i < model->definition->n_layers; i++)
        use(world, &model->layers[i]);
}

static inline int choose(const struct world *world, const struct layer *target,
                         uint64_t needed_pages, struct victims *victims)
{
    struct policy_view view = {.arena = world->arena,
                               .oldest = world->oldest,
                               .n_outside_runs = UINT64_MAX,
                               .runs = &world->runs,
                               .needed_pages = needed_pages};
    *victims = (struct victims){0};
    return target ? policy_choose_for_reading_ahead(&view, target, victims)
                  : policy_next_use.choose(&view, victims);
}

/* `expected`: "a3 b0", a model's letter and a layer's digit each; NULL: all victims together do not
 * suffice. */
static inline void assert_victims(const struct world *world, const struct layer *target,
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
