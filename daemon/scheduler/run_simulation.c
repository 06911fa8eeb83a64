/* Decisions fall when the run comes to a layer, and depend on no time; scheduler_request and
 * scheduler_read_ahead decide likewise. */
#include "daemon/scheduler/run_simulation.h"

#include "common/cleanup.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LEAD_TOLERANCE = 1e-6;

struct cycle_layer {
    bool is_resident, is_ahead;
    double ready; /* when it was or will have been read */
};

int cycle_init(struct cycle *cycle, uint32_t n_layers, const uint64_t *pages,
               uint64_t capacity_pages, double compute_per_page)
{
    *cycle = (struct cycle){.n_layers = n_layers,
                            .pages = pages,
                            .capacity_pages = capacity_pages,
                            .compute_per_page = compute_per_page};
    cycle->layers = calloc(n_layers, sizeof *cycle->layers);
    cycle->victims = calloc(n_layers, sizeof *cycle->victims);
    cycle->saved = calloc(n_layers, sizeof *cycle->saved);
    if (cycle->layers && cycle->victims && cycle->saved)
        return 0;
    cycle_done(cycle);
    return -ENOMEM;
}

void cycle_done(struct cycle *cycle)
{
    free(TAKE_PTR(cycle->layers));
    free(TAKE_PTR(cycle->victims));
    free(TAKE_PTR(cycle->saved));
}

void cycle_reset(struct cycle *cycle)
{
    memset(cycle->layers, 0, cycle->n_layers * sizeof *cycle->layers);
    cycle->used_pages = 0;
    cycle->n_ahead = cycle->n_passes = 0;
    cycle->now = cycle->disk_free = 0;
    cycle->read_pages = 0;
}

static uint32_t wrap(const struct cycle *cycle, uint32_t index)
{
    return index < cycle->n_layers ? index : index - cycle->n_layers;
}

/* What the schedule wants some steps after the one `at`. */
static uint8_t wanted(const struct cycle *cycle, const struct run_plan *plan, uint32_t at,
                      uint32_t n_steps_on)
{
    uint32_t step = cycle->n_passes % plan->period * cycle->n_layers + at + n_steps_on;
    return plan->schedule[step % (plan->period * cycle->n_layers)];
}

/* Who gives way first, second and so on. */
enum { UNWANTED, STREAMED, KEPT, AHEAD };

static unsigned rank(const struct cycle *cycle, const struct run_plan *plan, uint32_t at,
                     uint32_t index)
{
    if (cycle->layers[index].is_ahead)
        return AHEAD;
    if (plan->schedule)
        return wanted(cycle, plan, at, 0) >> index & 1 ? KEPT : UNWANTED;
    return plan->keep[index] ? KEPT : STREAMED;
}

/* Makes room for `target` while the run is at `at`. Reading ahead takes only what is not
 * kept, and used later if there is no schedule. A layer that is needed now takes whatever it must,
 * but what was read ahead: the disk may not be done with that. */
static bool make_room(struct cycle *cycle, const struct run_plan *plan, uint32_t at,
                      uint32_t target)
{
    uint64_t free_pages = cycle->capacity_pages - cycle->used_pages;
    uint64_t needed_pages = cycle->pages[target];
    uint32_t n = 0;
    unsigned last = at == target ? KEPT : STREAMED;

    for (unsigned r = plan->schedule ? UNWANTED : STREAMED; r <= last && free_pages < needed_pages;
         r++)
        for (uint32_t back = 1; back < cycle->n_layers && free_pages < needed_pages; back++) {
            uint32_t index = wrap(cycle, at + cycle->n_layers - back);
            if (index == target && r != UNWANTED)
                break;
            if (cycle->layers[index].is_resident && rank(cycle, plan, at, index) == r) {
                cycle->victims[n++] = index;
                free_pages += cycle->pages[index];
            }
        }
    if (free_pages < needed_pages)
        return false;
    while (n-- > 0) {
        uint32_t index = cycle->victims[n];
        if (free_pages - cycle->pages[index] >= needed_pages) {
            free_pages -= cycle->pages[index]; /* the ones after it have made it needless */
            continue;
        }
        cycle->layers[index].is_resident = false;
        cycle->used_pages -= cycle->pages[index];
    }
    return true;
}

static void read_layer(struct cycle *cycle, uint32_t index)
{
    if (cycle->disk_free <= cycle->now)
        cycle->disk_free = cycle->now + cycle->start_pages;
    cycle->disk_free += (double)cycle->pages[index];
    cycle->layers[index] = (struct cycle_layer){.is_resident = true, .ready = cycle->disk_free};
    cycle->used_pages += cycle->pages[index];
    cycle->read_pages += cycle->pages[index];
}

/* One layer, the next that will be missed. False if it is not to be read now. */
static bool read_ahead(struct cycle *cycle, const struct run_plan *plan, uint32_t at)
{
    if (cycle->n_ahead >= plan->depth)
        return false;
    uint8_t from_now_on = UINT8_MAX;
    for (uint32_t i = 1; i < cycle->n_layers && i <= plan->look_ahead; i++) {
        uint32_t index = wrap(cycle, at + i);
        from_now_on &= plan->schedule ? wanted(cycle, plan, at, i - 1) : UINT8_MAX;
        if (cycle->layers[index].is_resident || (plan->schedule && !(from_now_on >> index & 1)))
            continue;
        if (!make_room(cycle, plan, at, index))
            return false;
        read_layer(cycle, index);
        cycle->layers[index].is_ahead = true;
        cycle->n_ahead++;
        return true;
    }
    return false;
}

bool cycle_pass(struct cycle *cycle, const struct run_plan *plan)
{
    for (uint32_t at = 0; at < cycle->n_layers; at++) {
        struct cycle_layer *layer = &cycle->layers[at];
        if (!layer->is_resident) {
            if (!make_room(cycle, plan, at, at))
                return false;
            read_layer(cycle, at);
        }
        cycle->n_ahead -= layer->is_ahead;
        layer->is_ahead = false;
        while (read_ahead(cycle, plan, at))
            ;
        if (cycle->now < layer->ready)
            cycle->now = layer->ready;
        cycle->now += (double)cycle->pages[at] * cycle->compute_per_page;
    }
    cycle->n_passes++;
    return true;
}

static double lead(const struct cycle *cycle)
{
    return cycle->disk_free > cycle->now ? cycle->disk_free - cycle->now : 0;
}

/* Between passes: remembers what is there and how far the disk is ahead. */
static void save(struct cycle *cycle)
{
    memcpy(cycle->saved, cycle->layers, cycle->n_layers * sizeof *cycle->saved);
    cycle->saved_lead = lead(cycle);
}

static bool is_as_saved(const struct cycle *cycle)
{
    if (fabs(lead(cycle) - cycle->saved_lead) > LEAD_TOLERANCE)
        return false;
    for (uint32_t i = 0; i < cycle->n_layers; i++)
        if (cycle->layers[i].is_resident != cycle->saved[i].is_resident ||
            cycle->layers[i].is_ahead != cycle->saved[i].is_ahead)
            return false;
    return true;
}

bool cycle_measure(struct cycle *cycle, const struct run_plan *plan, unsigned n_passes,
                   double limit, struct cycle_mean *ret)
{
    double began = 0;
    uint64_t read_pages = 0;

    cycle_reset(cycle);
    for (unsigned i = 0; i < 2 * n_passes; i++) {
        if (i == n_passes) {
            began = cycle->now;
            read_pages = cycle->read_pages;
        }
        if (!cycle_pass(cycle, plan) || (i >= n_passes && cycle->now - began > limit * n_passes))
            return false;
    }
    *ret = (struct cycle_mean){.time = (cycle->now - began) / n_passes,
                               .read_pages = (double)(cycle->read_pages - read_pages) / n_passes};
    return true;
}

/* When passes repeat: R. Brent, "An improved Monte Carlo factorization algorithm" (1980). */
bool cycle_measure_steady(struct cycle *cycle, const struct run_plan *plan, struct cycle_mean *ret)
{
    double began = 0;
    uint64_t read_pages = 0;
    uint32_t saved = 0;
    bool repeats;

    cycle_reset(cycle);
    do {
        if ((cycle->n_passes & (cycle->n_passes - 1)) == 0) {
            save(cycle);
            saved = cycle->n_passes;
            began = cycle->now;
            read_pages = cycle->read_pages;
        }
        if (!cycle_pass(cycle, plan))
            return false;
        repeats = is_as_saved(cycle) &&
                  (!plan->schedule || (cycle->n_passes - saved) % plan->period == 0);
    } while (!repeats && cycle->n_passes < CYCLE_STEADY_PASSES_MAX);
    uint32_t n_passes = cycle->n_passes - saved;
    *ret = (struct cycle_mean){(cycle->now - began) / n_passes,
                               (double)(cycle->read_pages - read_pages) / n_passes, repeats};
    return true;
}
