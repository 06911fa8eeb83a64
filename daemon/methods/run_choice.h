/* Chooses a plan for the runs of a model on a worker, while the loop continues. Loop thread
 * only. */
#pragma once

#include "daemon/scheduler/planner.h"
#include "daemon/system/workers.h"

#include <sys/queue.h>

struct run_choice;

/* The choices in progress. A connection waits for at most one, and a model has at most one for
 * which no connection waits. */
struct run_choices {
    LIST_HEAD(run_choice_list, run_choice) list;
    struct scheduler *scheduler; /* borrowed, as are the workers */
    struct workers *workers;
};

void run_choices_init(struct run_choices *choices, struct scheduler *scheduler,
                      struct workers *workers);

/* Chooses a plan, and gives it to the model if the model is still registered then. Afterwards calls
 * `chosen`, also if there was no memory for a better plan and the present one stays. If there is
 * nothing to choose, returns NULL and never calls `chosen`. */
struct run_choice *run_choice_begin(struct run_choices *choices, const struct model *model,
                                    const struct rehearsal_rates *rates,
                                    void (*chosen)(void *context), void *context);
/* The same, but without a `chosen`. Does nothing if a choice for the model is in progress. */
void run_choice_renew(struct run_choices *choices, const struct model *model,
                      const struct rehearsal_rates *rates);

/* `chosen` will not be called any more. The model still gets its plan. */
void run_choice_forget(struct run_choice *choice);
