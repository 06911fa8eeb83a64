/* Sets a plan that a test has as an array of its own. */
#pragma once

#include "daemon/scheduler/scheduler.h"

#include <check.h>
#include <string.h>

static inline struct kept_layers *keep_layers(const bool *keep, uint32_t n_layers)
{
    struct kept_layers *kept = kept_layers_new(n_layers);
    ck_assert_ptr_nonnull(kept);
    if (keep)
        memcpy(kept->keep, keep, n_layers * sizeof *keep);
    return kept;
}

static inline void set_run_plan(struct scheduler *scheduler, struct model *model,
                                const struct run_plan *plan)
{
    struct kept_layers *kept = keep_layers(plan->keep, model->definition->n_layers);
    scheduler_set_run_plan(scheduler, model, plan, kept);
    kept_layers_unref(kept);
}
