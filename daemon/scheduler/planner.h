/* Chooses how runs go through a model that is larger than its part of the arena: how early a layer
 * is read ahead, and which layers are kept meanwhile. Which way is fastest depends on how long
 * layers take to read and to compute with: so each is rehearsed, and the fastest is taken. */
#pragma once

#include "daemon/scheduler/rehearsal.h"

enum {
    PLANNER_REHEARSED_LAYERS_MAX = 128, /* larger models get a plan without a rehearsal */
    PLANNER_PASSES = 6                  /* until a rehearsal is steady, and again to measure */
};

/* For the runs of `model`, in its share of the arena by bytes among the models that runs go
 * through. Rates that are not known count as if reading took as long as computing. The present plan
 * stays if it was made for the same share and nearly the same rates, or if no other is clearly
 * faster. 0 or -ENOMEM (nothing changed). */
int planner_choose(struct scheduler *scheduler, struct model *model,
                   const struct rehearsal_rates *rates);

/* The same in three steps, so that the second can be a worker's: it takes up to 30 ms for 150,000
 * layers. planner_begin copies what the choice depends on; *ret is NULL if the present plan stays.
 * 0 or -ENOMEM. */
struct planner_task;
int planner_begin(const struct scheduler *scheduler, const struct model *model,
                  const struct rehearsal_rates *rates, struct planner_task **ret);
/* Any thread. 0 or -ENOMEM. */
int planner_work(struct planner_task *task);
/* Gives the model its plan; only after planner_work has succeeded. The model is still that of
 * planner_begin. */
void planner_end(struct scheduler *scheduler, struct model *model, const struct planner_task *task);
struct planner_task *planner_task_free(struct planner_task *task);
DEFINE_CLEANUP(struct planner_task *, planner_task_free);

/* The same choice for layers of that many pages, where computing with a page takes
 * `compute_per_page` times what reading it does, and an idle disk loses the time of `start_pages`.
 * `keep` has one element for each layer; *ret points to it and maybe to `schedule`. 0 or -ENOMEM.
 */
int planner_plan(uint32_t n_layers, const uint64_t *pages, uint64_t capacity_pages,
                 double compute_per_page, double start_pages, bool *keep,
                 uint8_t schedule[static MODEL_SCHEDULE_STEPS_MAX], struct run_plan *ret);
