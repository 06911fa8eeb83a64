/* For a model of few layers: which of them are to be there while a run is at each, found by going
 * through every way to do it that is not clearly worse than another. Marks of layers are the same
 * in each pass; where sizes differ, passes that take turns can be faster. */
#pragma once

#include "daemon/scheduler/run_simulation.h"

enum { RESIDENCY_SEARCH_LAYERS_MAX = MODEL_SCHEDULE_LAYERS_MAX, RESIDENCY_SEARCH_PASSES = 8 };

/* Sets of layers, as in run.h: n_layers for each of the passes, which begin with an empty
 * arena and end with no thought of the next one. Takes the simulation's shape and rates, and leaves
 * it as it is. Every layer fits alone; not more than RESIDENCY_SEARCH_LAYERS_MAX. 0 or -ENOMEM. */
int residency_search(const struct run_simulation *simulation,
                     uint8_t ret[static RESIDENCY_SEARCH_PASSES * RESIDENCY_SEARCH_LAYERS_MAX]);
