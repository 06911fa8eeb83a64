/* A run in virtual time over layers of given sizes in a separate arena. A page is read in 1 ms, so
 * that times in ms are in the units of run_simulation. */
#pragma once

#include "daemon/scheduler/rehearsal.h"
#include "tests/unit/define.h"
#include "tests/unit/set_run_plan.h"

enum { REHEARSED_PAGE = 4096, REHEARSED_MAX = 128 };

struct rehearsed {
    struct scheduler *scheduler;
    struct model *model;
    struct rehearsal rehearsal;
};

/* `compute_per_page` as in planner; in thousandths it must be a whole number. */
static inline void rehearsed_begin(struct rehearsed *rehearsed, uint32_t n_layers,
                                   const uint64_t *pages, uint64_t capacity_pages,
                                   double compute_per_page, const struct run_plan *plan)
{
    uint64_t bytes[REHEARSED_MAX], total_pages = 0;
    struct arena *arena = NULL;
    struct model_refusal refusal;
    ck_assert_uint_le(n_layers, REHEARSED_MAX);
    for (uint32_t i = 0; i < n_layers; i++) {
        bytes[i] = pages[i] * REHEARSED_PAGE;
        total_pages += pages[i];
    }
    _cleanup_(definition_unrefp) struct definition *definition = define("m", bytes, n_layers);
    ck_assert_int_eq(arena_new(capacity_pages * REHEARSED_PAGE, REHEARSED_PAGE, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, &policy_next_use, &rehearsed->scheduler), 0);
    ck_assert_int_eq(
        scheduler_add_model(rehearsed->scheduler, definition, &rehearsed->model, &refusal), 0);
    set_run_plan(rehearsed->scheduler, rehearsed->model, plan);
    struct rehearsal_rates rates = {
        .disk_bytes_per_sec = REHEARSED_PAGE * 1000,
        .compute_usec = (uint64_t)((double)total_pages * compute_per_page * 1000 + 0.5)};
    ck_assert_int_eq(
        rehearsal_begin(rehearsed->scheduler, rehearsed->model, &rates, &rehearsed->rehearsal), 0);
}

static inline void rehearsed_end(struct rehearsed *rehearsed)
{
    rehearsal_end(&rehearsed->rehearsal);
    rehearsed->scheduler = scheduler_free(rehearsed->scheduler);
}
