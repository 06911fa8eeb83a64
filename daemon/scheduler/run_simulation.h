/* A quick model of one run that has a part of the arena to itself: the decisions of the policy
 * next-use and of reading ahead, without a scheduler. One disk reads one layer after the other.
 * rehearsal does the same with the scheduler's own code, some ten times slower. */
#pragma once

#include "daemon/scheduler/run.h"

/* Shapes: n_layers elements each. Time is counted in pages read. */
struct run_simulation {
    uint32_t n_layers;
    const uint64_t *pages;
    uint64_t capacity_pages;
    double compute_per_page; /* time to compute with a page, in times to read one */
    double start_pages;      /* what a disk without work loses until it reads again; 0 at first */
    /* The rest is the simulation's. */
    struct simulated_layer *layers;
    uint32_t *victims;
    uint64_t used_pages;
    uint32_t n_ahead, n_passes;
    double now, disk_free;
    uint64_t read_pages;
    struct simulated_layer *saved; /* after an earlier pass */
    double saved_lead;
};

/* 0 or -ENOMEM; `pages` is borrowed. */
int run_simulation_init(struct run_simulation *simulation, uint32_t n_layers, const uint64_t *pages,
                        uint64_t capacity_pages, double compute_per_page);
void run_simulation_done(struct run_simulation *simulation);

/* Starts anew, from an empty arena. */
void run_simulation_reset(struct run_simulation *simulation);

/* Goes through the model once. False if a layer found no place. */
bool run_simulation_pass(struct run_simulation *simulation, const struct run_plan *plan);

enum { RUN_SIMULATION_STEADY_PASSES_MAX = 512 };

/* Of a pass. */
struct pass_mean {
    double time, read_pages;
    bool repeats; /* it is exact: the passes go on like this */
};

/* From an empty arena on, over the second half of 2 * n_passes. False if a layer found no place, or
 * it is slower than `limit`. */
bool run_simulation_measure(struct run_simulation *simulation, const struct run_plan *plan,
                            unsigned n_passes, double limit, struct pass_mean *ret);

/* Until passes repeat themselves, or over the later ones of RUN_SIMULATION_STEADY_PASSES_MAX. False
 * if a layer found no place. */
bool run_simulation_measure_steady(struct run_simulation *simulation, const struct run_plan *plan,
                                   struct pass_mean *ret);
