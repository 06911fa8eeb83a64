/* Runs in the scheduler, and common actions of their tests. */
#pragma once

#include "tests/unit/scheduler_fixture.h"
#include "tests/unit/set_run_plan.h"

static inline struct run *begin(struct fixture *fixture, struct model *model)
{
    struct run *run = NULL;
    ck_assert_int_eq(scheduler_begin_run(fixture->scheduler, model, &run), 0);
    ck_assert_ptr_eq(run->model, model);
    ck_assert_ptr_eq(run->next, &model->layers[0]);
    return run;
}

/* `keep`: a letter a layer, 'k' for those that are kept. */
static inline void plan(struct fixture *fixture, struct model *model, const char *keep,
                        uint32_t look_ahead, uint32_t depth)
{
    bool mask[16];
    ck_assert_uint_eq(strlen(keep), model->definition->n_layers);
    for (size_t i = 0; i < strlen(keep); i++)
        mask[i] = keep[i] == 'k';
    set_run_plan(fixture->scheduler, model, &(struct run_plan){mask, look_ahead, depth});
}

/* The layer that is read ahead now, -1 for none. */
static inline int read_ahead(struct fixture *fixture, struct run *run)
{
    struct layer *layer = &run->model->layers[0];
    ck_assert_int_eq(scheduler_read_ahead(fixture->scheduler, run, &layer), 0);
    if (!layer)
        return -1;
    ck_assert_int_eq(layer->ahead, 1);
    assert_state(fixture, layer, LAYER_LOADING);
    return (int)layer->index;
}

/* Makes the run's next layer resident, and holds it. */
static inline enum outcome enter(struct fixture *fixture, struct run *run)
{
    struct layer *layer = run->next;
    struct verdict verdict;
    ck_assert_int_eq(scheduler_request(fixture->scheduler, layer, ON_FULL_EVICT, 0, &verdict), 0);
    enum outcome outcome = verdict.outcome;
    ck_assert_int_ne(outcome, OUTCOME_REFUSED);
    verdict_done(&verdict);
    if (outcome != OUTCOME_HIT)
        scheduler_complete(fixture->scheduler, layer, 0);
    scheduler_pin(fixture->scheduler, layer);
    scheduler_run_enter(fixture->scheduler, run, 1);
    return outcome;
}

static inline void leave(struct fixture *fixture, struct run *run, struct layer *layer)
{
    scheduler_unpin(fixture->scheduler, layer);
    scheduler_run_leave(fixture->scheduler, run, 1);
}

/* A model and a run through it, for most tests. */
static struct fixture fixture;
static struct model *model;
static struct run *run;

/* An arena of `n_pages`, and a model of layers of these sizes in pages. */
#define BEGIN(n_pages, ...)                                \
    do {                                                   \
        setup(&fixture, (n_pages)*PAGE, &policy_next_use); \
        model = ADD_MODEL(&fixture, "m", __VA_ARGS__);     \
        run = begin(&fixture, model);                      \
    } while (0)

static inline void teardown(void)
{
    fixture.scheduler = scheduler_free(fixture.scheduler);
}
