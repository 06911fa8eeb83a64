/* Decisions fall when the run comes to a layer, and depend on no time; scheduler_request and
 * scheduler_read_ahead decide likewise. */
#include "daemon/cycle.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    if (cycle->layers && cycle->victims)
        return 0;
    cycle_done(cycle);
    return -ENOMEM;
}

void cycle_done(struct cycle *cycle)
{
    free(TAKE_PTR(cycle->layers));
    free(TAKE_PTR(cycle->victims));
}

void cycle_reset(struct cycle *cycle)
{
    memset(cycle->layers, 0, cycle->n_layers * sizeof *cycle->layers);
    cycle->used_pages = 0;
    cycle->n_ahead = 0;
    cycle->now = cycle->disk_free = 0;
    cycle->read_pages = 0;
}

static uint32_t wrap(const struct cycle *cycle, uint32_t index)
{
    return index < cycle->n_layers ? index : index - cycle->n_layers;
}

static bool is_on_demand(const struct run_plan *plan, uint32_t index)
{
    return plan->on_demand && plan->on_demand[index];
}

/* Who gives way first, second and so on. */
enum { ON_DEMAND, STREAMED, KEPT, AHEAD };

static unsigned rank(const struct cycle *cycle, const struct run_plan *plan, uint32_t index)
{
    return cycle->layers[index].is_ahead ? AHEAD
           : plan->keep[index]           ? KEPT
           : is_on_demand(plan, index)   ? ON_DEMAND
                                         : STREAMED;
}

/* Makes room for `target` while the run is at `at`. Reading ahead takes only what is on demand, or
 * used later and not kept. A layer that is needed now takes whatever it must, but what was read
 * ahead: the disk may not be done with that. */
static bool make_room(struct cycle *cycle, const struct run_plan *plan, uint32_t at,
                      uint32_t target)
{
    uint64_t free_pages = cycle->capacity_pages - cycle->used_pages;
    uint64_t needed_pages = cycle->pages[target];
    uint32_t n = 0;
    unsigned last = at == target ? KEPT : STREAMED;

    for (unsigned r = plan->on_demand ? ON_DEMAND : STREAMED;
         r <= last && free_pages < needed_pages; r++)
        for (uint32_t back = 1; back < cycle->n_layers && free_pages < needed_pages; back++) {
            uint32_t index = wrap(cycle, at + cycle->n_layers - back);
            if (index == target && r != ON_DEMAND)
                break;
            if (cycle->layers[index].is_resident && rank(cycle, plan, index) == r) {
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
    for (uint32_t i = 1; i < cycle->n_layers && i <= plan->look_ahead; i++) {
        uint32_t index = wrap(cycle, at + i);
        if (cycle->layers[index].is_resident || is_on_demand(plan, index))
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
    return true;
}
