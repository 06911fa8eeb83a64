/* A naive model of the scheduler and its arena. It keeps an owner for each page and a last use for
 * each layer, and predicts every answer. Only for the victims of next-use, which have a separate
 * test, it merely checks that they are evictable and suffice. For a while a clone gets the same
 * requests and must give the same answers, and the observer's view of the layers must agree,
 * too. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "tests/unit/random.h"

#include <check.h>
#include <errno.h>
#include <string.h>

enum { PAGES_MAX = 160, MODELS = 6, LAYERS = 12, RUNS = 5 };

/* Each assertion of Check reports its place to the parent, which is too slow for millions of
 * them. */
#define EQUAL(left, right)                           \
    do {                                             \
        if ((left) != (right))                       \
            ck_abort_msg("%s != %s", #left, #right); \
    } while (0)

struct naive_layer {
    uint64_t bytes, pages;
    uint64_t used;  /* operation of its last use, or of its start while it is loading */
    uint64_t order; /* the same, or the operation of its last release if that is later */
    unsigned n_pins;
    bool ahead, keep, was_loaded;
    enum layer_state state;
    enum layer_state observed;
    uint32_t observed_pins;
};

struct naive_run {
    struct run *run; /* NULL: there is none */
    uint32_t next;
    uint64_t n_passes;
};

struct world {
    struct scheduler *scheduler;
    struct scheduler *shadow; /* a clone that gets the same operations, or NULL */
    uint64_t page_bytes, capacity_pages, now;
    struct model *models[MODELS]; /* NULL: not registered */
    struct naive_layer layers[MODELS][LAYERS];
    struct naive_run runs[RUNS];
    uint8_t owners[PAGES_MAX]; /* 0: free */
    uint64_t high_water_pages;
    struct scheduler_stats stats;
    struct model_stats removed; /* sums over models that are no longer registered */
    uint64_t n_refused, n_refused_observed;
    const struct policy *policy;
};

static inline unsigned slot_of(const struct model *model)
{
    return (unsigned)(model->definition->name[1] - '0');
}

static inline struct naive_layer *naive_of(struct world *world, const struct layer *layer)
{
    return &world->layers[slot_of(layer->model)][layer->index];
}

static inline uint8_t owner_of(const struct layer *layer)
{
    return (uint8_t)(1 + slot_of(layer->model) * LAYERS + layer->index);
}

static inline void observe(const struct scheduler_event *event, void *context)
{
    struct world *world = context;
    switch (event->type) {
    case EVENT_LAYER_LOADING:
        EQUAL(naive_of(world, event->layer)->observed, LAYER_ABSENT);
        naive_of(world, event->layer)->observed = LAYER_LOADING;
        break;
    case EVENT_LAYER_LOADED:
        EQUAL(naive_of(world, event->layer)->observed, LAYER_LOADING);
        naive_of(world, event->layer)->observed = LAYER_RESIDENT;
        break;
    case EVENT_LAYER_ABANDONED:
        EQUAL(naive_of(world, event->layer)->observed, LAYER_LOADING);
        naive_of(world, event->layer)->observed = LAYER_ABSENT;
        break;
    case EVENT_LAYER_EVICTED:
        EQUAL(naive_of(world, event->layer)->observed, LAYER_RESIDENT);
        naive_of(world, event->layer)->observed = LAYER_ABSENT;
        break;
    case EVENT_FLUSHED: {
        uint64_t n_layers = 0, bytes = 0;
        for (unsigned m = 0; m < MODELS; m++)
            for (unsigned i = 0; i < LAYERS; i++)
                if (world->layers[m][i].observed == LAYER_RESIDENT &&
                    world->layers[m][i].n_pins == 0) {
                    world->layers[m][i].observed = LAYER_ABSENT;
                    bytes += world->layers[m][i].bytes;
                    n_layers++;
                }
        EQUAL(event->n_layers, n_layers);
        EQUAL(event->bytes, bytes);
        break;
    }
    case EVENT_LAYER_PINNED:
        EQUAL(++naive_of(world, event->layer)->observed_pins, event->layer->n_pins);
        break;
    case EVENT_LAYER_UNPINNED:
        EQUAL(--naive_of(world, event->layer)->observed_pins, event->layer->n_pins);
        break;
    case EVENT_REFUSED:
        world->n_refused_observed++;
        break;
    default:
        break;
    }
}

/* The layer in the clone. */
static inline struct layer *shadow_of(const struct world *world, const struct layer *layer)
{
    struct model *model = scheduler_find_model(world->shadow, layer->model->definition->name);
    EQUAL(model != NULL, true);
    return &model->layers[layer->index];
}

static inline void replace_shadow(struct world *world)
{
    world->shadow = scheduler_free(world->shadow);
    EQUAL(scheduler_clone(world->scheduler, &world->shadow), 0);
}

static inline uint64_t free_pages(const struct world *world)
{
    uint64_t n = 0;
    for (uint64_t page = 0; page < world->capacity_pages; page++)
        n += world->owners[page] == 0;
    return n;
}

static inline uint64_t longest_free(const struct world *world)
{
    uint64_t longest = 0, length = 0;
    for (uint64_t page = 0; page < world->capacity_pages; page++) {
        length = world->owners[page] == 0 ? length + 1 : 0;
        longest = length > longest ? length : longest;
    }
    return longest;
}

static inline void give_up_pages(struct world *world, const struct layer *layer)
{
    for (uint64_t page = 0; page < world->capacity_pages; page++)
        if (world->owners[page] == owner_of(layer))
            world->owners[page] = 0;
    naive_of(world, layer)->state = LAYER_ABSENT;
}

/* Checks that the arena has allocated free pages, in one extent if one was long enough. */
static inline void take_pages(struct world *world, const struct layer *layer)
{
    struct naive_layer *naive = naive_of(world, layer);
    bool single = longest_free(world) >= naive->pages;
    uint64_t n = 0;
    for (const struct extent *extent = allocation_extents(&layer->allocation),
                             *end = allocation_end(&layer->allocation);
         extent < end; extent++)
        for (uint64_t page = extent->first_page; page < extent->first_page + extent->n_pages;
             page++, n++) {
            EQUAL(page < world->capacity_pages, true);
            EQUAL(world->owners[page], 0);
            world->owners[page] = owner_of(layer);
            if (world->high_water_pages <= page)
                world->high_water_pages = page + 1;
        }
    EQUAL(n, naive->pages);
    EQUAL(allocation_n_extents(&layer->allocation) == 1, single);
    naive->state = LAYER_LOADING;
    naive->ahead = false;
    naive->used = naive->order = world->now;
}

static inline struct layer *random_layer(const struct world *world, enum layer_state state,
                                         bool any)
{
    struct layer *layers[MODELS * LAYERS];
    size_t n = 0;
    for (unsigned m = 0; m < MODELS; m++)
        for (uint32_t i = 0; world->models[m] && i < world->models[m]->definition->n_layers; i++)
            if (any || world->layers[m][i].state == state)
                layers[n++] = &world->models[m]->layers[i];
    return n > 0 ? layers[random_below(n)] : NULL;
}

/* The layers in that state that are not held, by last use, the oldest first. */
static inline size_t by_use(struct world *world, enum layer_state state,
                            struct layer *layers[static MODELS * LAYERS])
{
    size_t n = 0;
    for (unsigned m = 0; m < MODELS; m++)
        for (uint32_t i = 0; i < LAYERS; i++) {
            const struct naive_layer *naive = &world->layers[m][i];
            if (!world->models[m] || naive->state != state || naive->n_pins > 0)
                continue;
            size_t at = n++;
            for (; at > 0 && naive_of(world, layers[at - 1])->order > naive->order; at--)
                layers[at] = layers[at - 1];
            layers[at] = &world->models[m]->layers[i];
        }
    return n;
}

static inline bool is_anything_pinned(const struct world *world)
{
    for (unsigned m = 0; m < MODELS; m++)
        for (uint32_t i = 0; i < LAYERS; i++)
            if (world->models[m] && world->layers[m][i].n_pins > 0)
                return true;
    return false;
}

/* Checks that the victims are evictable, that each occurs once, and that they suffice. */
static inline void check_victims(struct world *world, const struct victims *victims,
                                 uint64_t needed_pages)
{
    uint64_t pages = 0;
    for (size_t i = 0; i < victims->n_layers; i++) {
        const struct naive_layer *naive = naive_of(world, victims->layers[i]);
        EQUAL(naive->state, LAYER_RESIDENT);
        EQUAL(naive->n_pins, 0);
        pages += naive->pages;
        for (size_t j = 0; j < i; j++)
            EQUAL(victims->layers[i] != victims->layers[j], true);
    }
    EQUAL(victims->pages, pages);
    EQUAL(pages >= needed_pages, true);
}

static inline size_t foretell_flush_all(struct world *world, struct layer **layers, size_t n,
                                        uint64_t needed_pages)
{
    (void)world, (void)layers, (void)needed_pages;
    return n;
}

static inline size_t foretell_lru(struct world *world, struct layer **layers, size_t n,
                                  uint64_t needed_pages)
{
    for (size_t i = 0; i < n; i++)
        if (naive_of(world, layers[i])->pages >= needed_pages) {
            layers[0] = layers[i];
            return 1;
        }
    uint64_t pages = 0;
    size_t n_victims = 0;
    while (pages < needed_pages)
        pages += naive_of(world, layers[n_victims++])->pages;
    return n_victims;
}

/* How many victims the policy chooses. Moves them to the front of `layers`, the `n` resident layers
 * by last use. NULL: another test predicts them. */
typedef size_t foretell_function(struct world *world, struct layer **layers, size_t n,
                                 uint64_t needed_pages);

static inline foretell_function *find_foretelling(const struct policy *policy)
{
    static const struct {
        const struct policy *policy;
        foretell_function *foretell;
    } table[] = {
        {&policy_flush_all, foretell_flush_all},
        {&policy_lru, foretell_lru},
        {&policy_next_use, NULL},     /* test_next_use_property.c */
        {&policy_expected_use, NULL}, /* test_expected_use_property.c */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].policy == policy)
            return table[i].foretell;
    ck_abort_msg("this table does not say which victims the policy %s chooses", policy->name);
}

static inline void assert_alike(struct world *world, const struct layer *layer,
                                enum on_full on_full, const struct verdict *verdict)
{
    struct verdict other;
    EQUAL(scheduler_request(world->shadow, shadow_of(world, layer), on_full, world->now, &other),
          0);
    EQUAL(other.outcome, verdict->outcome);
    EQUAL(other.decision, verdict->decision);
    EQUAL(other.requested_bytes, verdict->requested_bytes);
    EQUAL(other.available_bytes, verdict->available_bytes);
    EQUAL(other.flushed, verdict->flushed);
    EQUAL(other.victims.pages, verdict->victims.pages);
    EQUAL(other.victims.n_layers, verdict->victims.n_layers);
    for (size_t i = 0; i < other.victims.n_layers; i++)
        EQUAL(other.victims.layers[i], shadow_of(world, verdict->victims.layers[i]));
    EQUAL(other.n_blockers, verdict->n_blockers);
    for (size_t i = 0; i < other.n_blockers; i++)
        EQUAL(other.blockers[i], shadow_of(world, verdict->blockers[i]));
    verdict_done(&other);
}

/* Checks that every layer is where it was placed, in pages that only it has. Returns the number of
 * extents. */
static inline uint64_t check_layer(struct world *world, const struct layer *layer)
{
    struct naive_layer *naive = naive_of(world, layer);
    EQUAL(scheduler_layer_state(world->scheduler, layer), naive->state);
    EQUAL(naive->observed, naive->state);
    EQUAL(scheduler_layer_pages(world->scheduler, layer),
          naive->state == LAYER_ABSENT ? 0 : naive->pages);
    EQUAL(naive->observed_pins, naive->n_pins);
    EQUAL(layer->n_pins, naive->n_pins);
    if (naive->state == LAYER_ABSENT)
        return 0;
    EQUAL(layer->ahead, naive->ahead);
    if (naive->state == LAYER_RESIDENT)
        EQUAL(layer->used_usec, naive->used);
    uint64_t n_pages = 0, n_extents = 0;
    for (const struct extent *extent = allocation_extents(&layer->allocation),
                             *end = allocation_end(&layer->allocation);
         extent < end; extent++) {
        n_extents++;
        for (uint64_t i = 0; i < extent->n_pages; i++, n_pages++)
            EQUAL(world->owners[extent->first_page + i], owner_of(layer));
    }
    EQUAL(n_pages, naive->pages);
    return n_extents;
}

static inline void add_up(struct model_stats *sum, const struct model_stats *stats)
{
    sum->hits += stats->hits;
    sum->misses += stats->misses;
    sum->evictions += stats->evictions;
    sum->loads += stats->loads;
    sum->reloads += stats->reloads;
    sum->loaded_bytes += stats->loaded_bytes;
}

static inline void check_world(struct world *world)
{
    struct model_stats sum = world->removed;
    struct scheduler_stats expected = world->stats, stats;
    uint64_t n_extents = 0, pinned_pages = 0;
    for (unsigned m = 0; m < MODELS; m++) {
        uint64_t n_resident = 0, resident_bytes = 0, bytes;
        for (uint32_t i = 0; world->models[m] && i < world->models[m]->definition->n_layers; i++) {
            n_extents += check_layer(world, &world->models[m]->layers[i]);
            expected.layers_loading += world->layers[m][i].state == LAYER_LOADING;
            pinned_pages += world->layers[m][i].n_pins > 0 ? world->layers[m][i].pages : 0;
            if (world->layers[m][i].state == LAYER_RESIDENT) {
                n_resident++;
                resident_bytes += world->layers[m][i].bytes;
            }
        }
        expected.layers_resident += n_resident;
        expected.resident_bytes += resident_bytes;
        if (!world->models[m])
            continue;
        EQUAL(scheduler_model_resident(world->scheduler, world->models[m], &bytes), n_resident);
        EQUAL(bytes, resident_bytes);
        struct model_stats of_model = scheduler_model_stats(world->scheduler, world->models[m]);
        add_up(&sum, &of_model);
    }
    scheduler_get_stats(world->scheduler, &stats);
    EQUAL(memcmp(&stats, &expected, sizeof stats), 0);
    struct model_stats all = {stats.hits,  stats.misses,  stats.evictions,
                              stats.loads, stats.reloads, stats.loaded_bytes};
    EQUAL(memcmp(&sum, &all, sizeof sum), 0);
    EQUAL(world->n_refused_observed, world->n_refused);
    EQUAL(scheduler_pinned_pages(world->scheduler), pinned_pages);

    struct arena_stats arena;
    arena_get_stats(scheduler_arena(world->scheduler), &arena);
    EQUAL(arena.capacity_pages, world->capacity_pages);
    EQUAL(arena.free_pages, free_pages(world));
    EQUAL(arena.used_pages, world->capacity_pages - arena.free_pages);
    EQUAL(arena.largest_free_pages, longest_free(world));
    EQUAL(arena.high_water_pages, world->high_water_pages);
    EQUAL(arena.n_extents, n_extents);
    if (world->shadow)
        EQUAL(arena_free_pages(scheduler_arena(world->shadow)), arena.free_pages);
}
