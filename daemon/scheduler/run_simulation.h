/* A quick simulation of one run that has a part of the arena to itself. It makes the decisions of
 * the policy next-use and of reading ahead without a scheduler. One disk reads one layer after the
 * other. rehearsal does the same with the scheduler's own code, about ten times slower. */
#pragma once

#include "daemon/scheduler/run.h"

/* Each array has n_layers elements. The unit of time is the time to read one page. */
struct run_simulation {
    uint32_t n_layers;
    const uint64_t *pages;
    uint64_t capacity_pages;
    double compute_per_page; /* time to compute with a page */
    double start_pages;      /* time that an idle disk needs before it reads again; 0 at first */
    /* The other members are private. */
    struct simulated_layer *layers;
    uint32_t *victims;
    uint64_t used_pages;
    uint32_t n_ahead, n_passes;
    double now, disk_free;
    uint64_t read_pages;
    struct simulated_layer *saved; /* state after an earlier pass */
    double saved_lead;
};

/* Returns 0 or -ENOMEM. `pages` is borrowed. */
int run_simulation_init(struct run_simulation *simulation, uint32_t n_layers, const uint64_t *pages,
                        uint64_t capacity_pages, double compute_per_page);
void run_simulation_done(struct run_simulation *simulation);

/* Starts again with an empty arena. */
void run_simulation_reset(struct run_simulation *simulation);

/* Goes through the model once. Returns false if there was no room for a layer. */
bool run_simulation_pass(struct run_simulation *simulation, const struct run_plan *plan);

enum { RUN_SIMULATION_STEADY_PASSES_MAX = 512 };

/* The mean of several passes. */
struct pass_mean {
    double time, read_pages;
    bool repeats; /* it is exact, because all later passes repeat these */
};

/* Starts with an empty arena and measures the second half of 2 * n_passes passes. Returns false if
 * there was no room for a layer, or if a pass takes longer than `limit` on average. */
bool run_simulation_measure(struct run_simulation *simulation, const struct run_plan *plan,
                            unsigned n_passes, double limit, struct pass_mean *ret);

/* Measures until the passes repeat, or over the later ones of RUN_SIMULATION_STEADY_PASSES_MAX
 * passes. Returns false if there was no room for a layer. */
bool run_simulation_measure_steady(struct run_simulation *simulation, const struct run_plan *plan,
                                   struct pass_mean *ret);
