/* It decides when the run comes to a layer, and no decision depends on time. scheduler_request and
 * scheduler_read_ahead decide in the same way. */
#include "daemon/scheduler/run_simulation.h"

#include "common/cleanup.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LEAD_TOLERANCE = 1e-6;

struct simulated_layer {
    bool is_resident, is_ahead;
    double ready; /* when its read is complete */
};

int run_simulation_init(struct run_simulation *simulation, uint32_t n_layers, const uint64_t *pages,
                        uint64_t capacity_pages, double compute_per_page)
{
    *simulation = (struct run_simulation){.n_layers = n_layers,
                                          .pages = pages,
                                          .capacity_pages = capacity_pages,
                                          .compute_per_page = compute_per_page};
    simulation->layers = calloc(n_layers, sizeof *simulation->layers);
    simulation->victims = calloc(n_layers, sizeof *simulation->victims);
    simulation->saved = calloc(n_layers, sizeof *simulation->saved);
    if (simulation->layers && simulation->victims && simulation->saved)
        return 0;
    run_simulation_done(simulation);
    return -ENOMEM;
}

void run_simulation_done(struct run_simulation *simulation)
{
    free(TAKE_PTR(simulation->layers));
    free(TAKE_PTR(simulation->victims));
    free(TAKE_PTR(simulation->saved));
}

void run_simulation_reset(struct run_simulation *simulation)
{
    memset(simulation->layers, 0, simulation->n_layers * sizeof *simulation->layers);
    simulation->used_pages = 0;
    simulation->n_ahead = simulation->n_passes = 0;
    simulation->now = simulation->disk_free = 0;
    simulation->read_pages = 0;
}

static uint32_t wrap(const struct run_simulation *simulation, uint32_t index)
{
    return index < simulation->n_layers ? index : index - simulation->n_layers;
}

/* The set that the schedule wants `n_steps_on` steps after the layer `at`. */
static uint8_t wanted(const struct run_simulation *simulation, const struct run_plan *plan,
                      uint32_t at, uint32_t n_steps_on)
{
    uint32_t step = simulation->n_passes % plan->period * simulation->n_layers + at + n_steps_on;
    return plan->schedule[step % (plan->period * simulation->n_layers)];
}

/* The order in which layers give way. */
enum { UNWANTED, STREAMED, KEPT, AHEAD };

static unsigned rank(const struct run_simulation *simulation, const struct run_plan *plan,
                     uint32_t at, uint32_t index)
{
    if (simulation->layers[index].is_ahead)
        return AHEAD;
    if (plan->schedule)
        return wanted(simulation, plan, at, 0) >> index & 1 ? KEPT : UNWANTED;
    return plan->keep[index] ? KEPT : STREAMED;
}

/* Makes room for `target` while the run is at `at`. To read ahead, it evicts only layers that are
 * not kept and, without a schedule, are used later than `target`. For a layer that is needed now,
 * it evicts any layer except those read ahead, because the disk may still be reading them. */
static bool make_room(struct run_simulation *simulation, const struct run_plan *plan, uint32_t at,
                      uint32_t target)
{
    uint64_t free_pages = simulation->capacity_pages - simulation->used_pages;
    uint64_t needed_pages = simulation->pages[target];
    uint32_t n = 0;
    unsigned last = at == target ? KEPT : STREAMED;

    for (unsigned r = plan->schedule ? UNWANTED : STREAMED; r <= last && free_pages < needed_pages;
         r++)
        for (uint32_t back = 1; back < simulation->n_layers && free_pages < needed_pages; back++) {
            uint32_t index = wrap(simulation, at + simulation->n_layers - back);
            if (index == target && r != UNWANTED)
                break;
            if (simulation->layers[index].is_resident && rank(simulation, plan, at, index) == r) {
                simulation->victims[n++] = index;
                free_pages += simulation->pages[index];
            }
        }
    if (free_pages < needed_pages)
        return false;
    while (n-- > 0) {
        uint32_t index = simulation->victims[n];
        if (free_pages - simulation->pages[index] >= needed_pages) {
            free_pages -= simulation->pages[index]; /* later victims have made it needless */
            continue;
        }
        simulation->layers[index].is_resident = false;
        simulation->used_pages -= simulation->pages[index];
    }
    return true;
}

static void read_layer(struct run_simulation *simulation, uint32_t index)
{
    if (simulation->disk_free <= simulation->now)
        simulation->disk_free = simulation->now + simulation->start_pages;
    simulation->disk_free += (double)simulation->pages[index];
    simulation->layers[index] =
        (struct simulated_layer){.is_resident = true, .ready = simulation->disk_free};
    simulation->used_pages += simulation->pages[index];
    simulation->read_pages += simulation->pages[index];
}

/* Reads ahead one layer, the next that is missing. Returns false if none is to be read now. */
static bool read_ahead(struct run_simulation *simulation, const struct run_plan *plan, uint32_t at)
{
    if (simulation->n_ahead >= plan->depth)
        return false;
    uint8_t from_now_on = UINT8_MAX;
    for (uint32_t i = 1; i < simulation->n_layers && i <= plan->look_ahead; i++) {
        uint32_t index = wrap(simulation, at + i);
        from_now_on &= plan->schedule ? wanted(simulation, plan, at, i - 1) : UINT8_MAX;
        if (simulation->layers[index].is_resident ||
            (plan->schedule && !(from_now_on >> index & 1)))
            continue;
        if (!make_room(simulation, plan, at, index))
            return false;
        read_layer(simulation, index);
        simulation->layers[index].is_ahead = true;
        simulation->n_ahead++;
        return true;
    }
    return false;
}

bool run_simulation_pass(struct run_simulation *simulation, const struct run_plan *plan)
{
    for (uint32_t at = 0; at < simulation->n_layers; at++) {
        struct simulated_layer *layer = &simulation->layers[at];
        if (!layer->is_resident) {
            if (!make_room(simulation, plan, at, at))
                return false;
            read_layer(simulation, at);
        }
        simulation->n_ahead -= layer->is_ahead;
        layer->is_ahead = false;
        while (read_ahead(simulation, plan, at))
            ;
        if (simulation->now < layer->ready)
            simulation->now = layer->ready;
        simulation->now += (double)simulation->pages[at] * simulation->compute_per_page;
    }
    simulation->n_passes++;
    return true;
}

static double lead(const struct run_simulation *simulation)
{
    return simulation->disk_free > simulation->now ? simulation->disk_free - simulation->now : 0;
}

/* Between passes: saves which layers are resident, and how far the disk is ahead. */
static void save(struct run_simulation *simulation)
{
    memcpy(simulation->saved, simulation->layers, simulation->n_layers * sizeof *simulation->saved);
    simulation->saved_lead = lead(simulation);
}

static bool is_as_saved(const struct run_simulation *simulation)
{
    if (fabs(lead(simulation) - simulation->saved_lead) > LEAD_TOLERANCE)
        return false;
    for (uint32_t i = 0; i < simulation->n_layers; i++)
        if (simulation->layers[i].is_resident != simulation->saved[i].is_resident ||
            simulation->layers[i].is_ahead != simulation->saved[i].is_ahead)
            return false;
    return true;
}

bool run_simulation_measure(struct run_simulation *simulation, const struct run_plan *plan,
                            unsigned n_passes, double limit, struct pass_mean *ret)
{
    double began = 0;
    uint64_t read_pages = 0;

    run_simulation_reset(simulation);
    for (unsigned i = 0; i < 2 * n_passes; i++) {
        if (i == n_passes) {
            began = simulation->now;
            read_pages = simulation->read_pages;
        }
        if (!run_simulation_pass(simulation, plan) ||
            (i >= n_passes && simulation->now - began > limit * n_passes))
            return false;
    }
    *ret =
        (struct pass_mean){.time = (simulation->now - began) / n_passes,
                           .read_pages = (double)(simulation->read_pages - read_pages) / n_passes};
    return true;
}

/* Finds out when passes repeat as in R. Brent, "An improved Monte Carlo factorization algorithm"
 * (1980). */
bool run_simulation_measure_steady(struct run_simulation *simulation, const struct run_plan *plan,
                                   struct pass_mean *ret)
{
    double began = 0;
    uint64_t read_pages = 0;
    uint32_t saved = 0;
    bool repeats;

    run_simulation_reset(simulation);
    do {
        if ((simulation->n_passes & (simulation->n_passes - 1)) == 0) {
            save(simulation);
            saved = simulation->n_passes;
            began = simulation->now;
            read_pages = simulation->read_pages;
        }
        if (!run_simulation_pass(simulation, plan))
            return false;
        repeats = is_as_saved(simulation) &&
                  (!plan->schedule || (simulation->n_passes - saved) % plan->period == 0);
    } while (!repeats && simulation->n_passes < RUN_SIMULATION_STEADY_PASSES_MAX);
    uint32_t n_passes = simulation->n_passes - saved;
    *ret = (struct pass_mean){(simulation->now - began) / n_passes,
                              (double)(simulation->read_pages - read_pages) / n_passes, repeats};
    return true;
}
