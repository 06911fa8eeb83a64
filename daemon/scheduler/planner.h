/* Chooses how runs go through a model that is larger than its share of the arena: how early a layer
 * is read ahead, and which layers are kept meanwhile. The fastest way depends on the times to read
 * layers and to compute with them. So the planner simulates several ways, and takes the fastest. */
#pragma once

#include "daemon/scheduler/rehearsal.h"

enum {
    PLANNER_REHEARSED_LAYERS_MAX = 128, /* larger models get a plan without a simulation */
    PLANNER_PASSES = 6 /* simulated until the passes are steady, and again to measure */
};

/* Chooses a plan for the runs of `model`. The models that runs go through share the arena in
 * proportion to their bytes. If a rate is not known, reading counts as taking as long as computing.
 * The present plan stays if it was made for the same share and nearly the same rates, or if no
 * other is clearly faster. Returns 0 or -ENOMEM (nothing changed). */
int planner_choose(struct scheduler *scheduler, struct model *model,
                   const struct rehearsal_rates *rates);

/* The same in three steps, so that a worker can do the second one, which takes up to 30 ms for
 * 150,000 layers. planner_begin copies all that the choice depends on; *ret is NULL if the present
 * plan stays. Returns 0 or -ENOMEM. */
struct planner_task;
int planner_begin(const struct scheduler *scheduler, const struct model *model,
                  const struct rehearsal_rates *rates, struct planner_task **ret);
/* Any thread. Returns 0 or -ENOMEM. */
int planner_work(struct planner_task *task);
/* Gives the model its plan. Call it only after planner_work has succeeded, with the same model as
 * planner_begin. */
void planner_end(struct scheduler *scheduler, struct model *model, const struct planner_task *task);
struct planner_task *planner_task_free(struct planner_task *task);
DEFINE_CLEANUP(struct planner_task *, planner_task_free);

/* The same choice for layers of `pages` pages each. To compute with a page takes `compute_per_page`
 * times as long as to read it. An idle disk needs the time of `start_pages` before it reads again.
 * `keep` has one element for each layer; *ret points to it and maybe to `schedule`. Returns 0 or
 * -ENOMEM. */
int planner_plan(uint32_t n_layers, const uint64_t *pages, uint64_t capacity_pages,
                 double compute_per_page, double start_pages, bool *keep,
                 uint8_t schedule[static MODEL_SCHEDULE_STEPS_MAX], struct run_plan *ret);
