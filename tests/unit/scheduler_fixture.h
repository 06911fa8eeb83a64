/* A scheduler with an observer that writes a log, and common actions of the scheduler's tests. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "tests/unit/define.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 4096, LOG_MAX = 4096 };

/* A definition that a test owns by value: more layers than a text may have, all of one size. The
 * test keeps its reference, so that the others are counted but nothing is ever freed. */
static inline struct definition define_by_hand(const char *name, struct layer_definition *layers,
                                               uint32_t n_layers)
{
    return (struct definition){
        .n_refs = 1, .name = (char *)(uintptr_t)name, .layers = layers, .n_layers = n_layers};
}

static inline struct layer_definition *equal_layers(uint32_t n_layers, uint64_t bytes)
{
    struct layer_definition *layers = calloc(n_layers, sizeof *layers);
    ck_assert_ptr_nonnull(layers);
    for (uint32_t i = 0; i < n_layers; i++)
        layers[i] = (struct layer_definition){.name = "l", .bytes = bytes};
    return layers;
}

struct fixture {
    struct scheduler *scheduler;
    char log[LOG_MAX]; /* one letter an event, then the layer or the count, "; " after each */
    uint64_t flushed_bytes;
};

static inline void observe(const struct scheduler_event *event, void *context)
{
    static const char letters[] = {
        [EVENT_MODEL_ADDED] = '+',  [EVENT_MODEL_REMOVED] = '-',   [EVENT_LAYER_LOADING] = 'r',
        [EVENT_LAYER_LOADED] = 'l', [EVENT_LAYER_ABANDONED] = 'a', [EVENT_LAYER_EVICTED] = 'e',
        [EVENT_FLUSHED] = 'f',      [EVENT_REFUSED] = '!',         [EVENT_POLICY_CHANGED] = 'p',
    };
    struct fixture *fixture = context;
    if (!letters[event->type])
        return; /* pins: no test's log has them */
    size_t n = strlen(fixture->log);
    char *end = fixture->log + n;

    if (event->type == EVENT_FLUSHED) {
        fixture->flushed_bytes = event->bytes;
        snprintf(end, LOG_MAX - n, "f %" PRIu64 "; ", event->n_layers);
        ck_assert_ptr_null(event->model);
    } else if (event->type == EVENT_POLICY_CHANGED) {
        snprintf(end, LOG_MAX - n, "p; ");
    } else if (event->layer) {
        ck_assert_ptr_eq(event->model, event->layer->model);
        ck_assert_uint_eq(event->bytes, layer_definition(event->layer)->bytes);
        snprintf(end, LOG_MAX - n, "%c %s%s%s; ", letters[event->type],
                 layer_definition(event->layer)->name, event->type == EVENT_REFUSED ? " " : "",
                 event->type == EVENT_REFUSED ? decision_name(event->decision) : "");
    } else {
        snprintf(end, LOG_MAX - n, "%c %s; ", letters[event->type], event->model->definition->name);
    }
    ck_assert_uint_lt(strlen(fixture->log), LOG_MAX - 1);
}

static inline void setup(struct fixture *fixture, uint64_t capacity_bytes,
                         const struct policy *policy)
{
    *fixture = (struct fixture){0};
    struct arena *arena = NULL;
    ck_assert_int_eq(arena_new(capacity_bytes, PAGE, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, policy, &fixture->scheduler), 0);
    scheduler_set_observer(fixture->scheduler, observe, fixture);
}

static inline void assert_log(struct fixture *fixture, const char *expected)
{
    ck_assert_str_eq(fixture->log, expected);
    fixture->log[0] = '\0';
}

/* Layers of these sizes in pages, "l0" on. */
static inline struct model *add_model(struct fixture *fixture, const char *name, uint32_t n_layers,
                                      const uint64_t *pages)
{
    uint64_t bytes[16];
    ck_assert_uint_le(n_layers, 16);
    for (uint32_t i = 0; i < n_layers; i++)
        bytes[i] = pages[i] * PAGE;
    _cleanup_(definition_unrefp) struct definition *definition = define(name, bytes, n_layers);
    struct model *model = NULL;
    struct model_refusal refusal;
    ck_assert_int_eq(scheduler_add_model(fixture->scheduler, definition, &model, &refusal), 0);
    return model;
}
#define ADD_MODEL(fixture, name, ...)                                                    \
    add_model(fixture, name, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), \
              (const uint64_t[]){__VA_ARGS__})

static inline struct verdict ask(struct fixture *fixture, struct layer *layer, enum on_full on_full,
                                 uint64_t now_usec, enum outcome outcome, enum decision decision)
{
    struct verdict verdict;
    ck_assert_int_eq(scheduler_request(fixture->scheduler, layer, on_full, now_usec, &verdict), 0);
    ck_assert_int_eq(verdict.outcome, outcome);
    ck_assert_int_eq(verdict.decision, decision);
    ck_assert_uint_eq(verdict.capacity_bytes,
                      arena_capacity_pages(scheduler_arena(fixture->scheduler)) * PAGE);
    return verdict;
}

/* Requests a layer that fits, and completes it. */
static inline void load(struct fixture *fixture, struct layer *layer, uint64_t now_usec)
{
    struct verdict verdict =
        ask(fixture, layer, ON_FULL_ASK, now_usec, OUTCOME_RESERVED, DECISION_LOADED);
    ck_assert_uint_eq(verdict.victims.n_layers, 0);
    verdict_done(&verdict);
    scheduler_complete(fixture->scheduler, layer, now_usec);
}

/* The same for every layer of a model. One assertion for all: each costs more than what it checks.
 */
static inline void load_all(struct fixture *fixture, struct model *model)
{
    bool failed = false;
    for (uint32_t i = 0; i < model->definition->n_layers; i++) {
        struct verdict verdict;
        failed |= scheduler_request(fixture->scheduler, &model->layers[i], ON_FULL_ASK, i,
                                    &verdict) < 0 ||
                  verdict.outcome != OUTCOME_RESERVED;
        if (failed)
            break;
        verdict_done(&verdict);
        scheduler_complete(fixture->scheduler, &model->layers[i], i);
    }
    ck_assert(!failed);
}

static inline void reserve(struct fixture *fixture, struct layer *layer)
{
    struct verdict verdict = ask(fixture, layer, ON_FULL_ASK, 0, OUTCOME_RESERVED, DECISION_LOADED);
    verdict_done(&verdict);
}

static inline void hit(struct fixture *fixture, struct layer *layer, uint64_t now_usec)
{
    struct verdict verdict =
        ask(fixture, layer, ON_FULL_ASK, now_usec, OUTCOME_HIT, DECISION_LOADED);
    verdict_done(&verdict);
}

static inline void assert_state(const struct fixture *fixture, const struct layer *layer,
                                enum layer_state state)
{
    ck_assert_int_eq(scheduler_layer_state(fixture->scheduler, layer), state);
    uint64_t pages = (layer_definition(layer)->bytes + PAGE - 1) / PAGE;
    ck_assert_uint_eq(scheduler_layer_pages(fixture->scheduler, layer),
                      state == LAYER_ABSENT ? 0 : pages);
}

static inline struct scheduler_stats stats_of(const struct fixture *fixture)
{
    struct scheduler_stats stats;
    scheduler_get_stats(fixture->scheduler, &stats);
    return stats;
}

static inline uint64_t free_pages(const struct fixture *fixture)
{
    return arena_free_pages(scheduler_arena(fixture->scheduler));
}
