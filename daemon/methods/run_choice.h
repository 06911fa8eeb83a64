/* The choice of a plan for the runs of a model, made by a worker while the loop goes on. Loop
 * thread only. */
#pragma once

#include "daemon/scheduler/planner.h"
#include "daemon/system/workers.h"

#include <sys/queue.h>

struct run_choice;

/* Those that are being made; each connection has at most one that it waits for, and each model at
 * most one that nobody waits for. */
struct run_choices {
    LIST_HEAD(run_choice_list, run_choice) list;
    struct scheduler *scheduler; /* borrowed, as are the workers */
    struct workers *workers;
};

void run_choices_init(struct run_choices *choices, struct scheduler *scheduler,
                      struct workers *workers);

/* Chooses, and gives the model its plan if it is still registered then. `chosen` is told
 * afterwards, also when there was no memory for a better plan and the present one stays. Returns
 * NULL, and tells nobody, if there is nothing to choose. */
struct run_choice *run_choice_begin(struct run_choices *choices, const struct model *model,
                                    const struct rehearsal_rates *rates,
                                    void (*chosen)(void *context), void *context);
/* The same, but nobody waits for it. Does nothing if a choice for the model is being made. */
void run_choice_renew(struct run_choices *choices, const struct model *model,
                      const struct rehearsal_rates *rates);

/* Nobody is told any more; the model gets its plan as before. */
void run_choice_forget(struct run_choice *choice);
