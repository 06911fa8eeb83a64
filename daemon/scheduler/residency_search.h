/* For a model of few layers: finds which layers should be resident while a run is at each layer. It
 * tries every way that is not clearly worse than another one. A plan's `keep` is the same in each
 * pass; if the layers' sizes differ, passes that differ from each other can be faster. */
#pragma once

#include "daemon/scheduler/run_simulation.h"

enum { RESIDENCY_SEARCH_LAYERS_MAX = MODEL_SCHEDULE_LAYERS_MAX, RESIDENCY_SEARCH_PASSES = 8 };

/* Writes sets of layers, as in run.h, n_layers for each pass. The first pass begins with an empty
 * arena, and the last one does not prepare another one. Uses the simulation's sizes and rates, and
 * does not change it. Every layer must fit alone, and there are at most
 * RESIDENCY_SEARCH_LAYERS_MAX. Returns 0 or -ENOMEM. */
int residency_search(const struct run_simulation *simulation,
                     uint8_t ret[static RESIDENCY_SEARCH_PASSES * RESIDENCY_SEARCH_LAYERS_MAX]);
