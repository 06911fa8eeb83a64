/* Owns the choice. Candidates are pairs of a mask of layers that are kept and of a manner to read
 * ahead; each goes through the model in daemon/cycle. Masks: nothing (every layer may give way, and
 * what is missing moves through the cycle); the first layers; and, for some sizes, all layers
 * larger than that and the rest evenly spread over the cycle, with room for one or two that stream.
 * Reading nothing ahead, with nothing kept, is Belady's MIN. Small models try every mask, each
 * layer being kept, streamed or on demand: where sizes differ, it can be faster not to read a small
 * layer ahead, and a large one in its stead.
 *
 * Among those that are nearly as fast as the fastest, the one that reads least is taken. The two
 * that the literature knows, MIN and the first layers kept beside a ring of two, then go through
 * more passes against it, so that the choice is never slower than they. */
#include "daemon/planner.h"

#include "daemon/cycle.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    REHEARSED_LAYERS_MAX =
        128,                 /* larger models are not rehearsed: it would keep the loop waiting */
    TRIED_LAYERS_MAX = 7,    /* of models that try every mask */
    SIZES = 4,               /* quartiles that masks are made from */
    START_BYTES = 512 << 10, /* loaders run dry at a layer's end, and wait for the next one */
    PASSES = 6               /* until it is steady, and again to measure */
};
static const double NEARLY = 1.01, RATES_NEARLY = 2, CLEARLY = 0.95, SCREENED = 1.05,
                    TELLING = 1.002;

static const struct manner {
    uint32_t look_ahead, depth;
} manners[] = {{2, 1}, {4, 1}, {UINT32_MAX, 1}, {UINT32_MAX, 2}},
  small_manners[] = {{2, 1}, {2, 2}, {UINT32_MAX, 3}};
enum {
    N_MANNERS = sizeof manners / sizeof *manners,
    N_SMALL_MANNERS = sizeof small_manners / sizeof *small_manners,
    RING = 2 /* the manner of the references */
};

struct choice {
    struct cycle cycle;
    const uint64_t *pages;
    uint64_t total_pages;
    uint32_t n_layers;
    bool *mask, *on_demand; /* being tried */
    bool *best_mask, *best_on_demand, *first_mask;
    struct run_plan best;
    double best_time, fastest_time;
    uint64_t best_read_pages;
};

/* The most that `n_slots` streamed layers which follow each other take; n_slots is 1 or 2. */
static uint64_t room(const struct choice *choice, const bool *mask, unsigned n_slots)
{
    uint64_t most = 0, previous = 0;
    for (uint32_t i = 0; i < 2 * choice->n_layers; i++) { /* twice, for who follows the last */
        uint32_t index = i % choice->n_layers;
        if (mask[index])
            continue;
        uint64_t together = choice->pages[index] + (n_slots > 1 ? previous : 0);
        if (most < together)
            most = together;
        previous = choice->pages[index];
    }
    return most;
}

static bool fits(const struct choice *choice, const bool *mask, unsigned n_slots)
{
    uint64_t kept_pages = 0;
    for (uint32_t i = 0; i < choice->n_layers; i++)
        kept_pages += mask[i] ? choice->pages[i] : 0;
    return kept_pages + room(choice, mask, n_slots) <= choice->cycle.capacity_pages;
}

/* The longest beginning of the model that fits beside two that stream. */
static void keep_first(struct choice *choice, bool *mask)
{
    uint32_t n = choice->n_layers;
    memset(mask, true, n * sizeof *mask);
    do
        mask[--n] = false;
    while (n > 0 && !fits(choice, mask, 2));
}

/* All larger than `size_pages`, and of the rest that share of its bytes, evenly spread. */
static void spread(const struct choice *choice, uint64_t size_pages, double share, bool *mask)
{
    double due = 0;
    for (uint32_t i = 0; i < choice->n_layers; i++) {
        double pages = (double)choice->pages[i];
        due += choice->pages[i] > size_pages ? 0 : pages * share;
        mask[i] = choice->pages[i] > size_pages || due >= pages / 2;
        if (mask[i] && choice->pages[i] <= size_pages)
            due -= pages;
    }
}

/* As much as fits beside `n_slots` that stream. False if the large ones alone do not. */
static bool keep_spread(const struct choice *choice, uint64_t size_pages, unsigned n_slots,
                        bool *mask)
{
    uint32_t low = 0, high = 2 * choice->n_layers;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        spread(choice, size_pages, (double)middle / (2 * choice->n_layers), mask);
        if (fits(choice, mask, n_slots))
            low = middle;
        else
            high = middle - 1;
    }
    spread(choice, size_pages, (double)low / (2 * choice->n_layers), mask);
    return fits(choice, mask, n_slots);
}

/* The mean time and pages of a steady pass. False if it does not work, or is slower than `limit`.
 */
static bool measure(struct choice *choice, const struct run_plan *plan, unsigned n_passes,
                    double limit, double *ret_time, uint64_t *ret_read_pages)
{
    struct cycle *cycle = &choice->cycle;
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
    *ret_time = (cycle->now - began) / n_passes;
    *ret_read_pages = cycle->read_pages - read_pages;
    return true;
}

static void take(struct choice *choice, const struct run_plan *plan, double time,
                 uint64_t read_pages)
{
    memcpy(choice->best_mask, plan->keep, choice->n_layers * sizeof *plan->keep);
    choice->best = *plan;
    choice->best.keep = choice->best_mask;
    if (plan->on_demand) {
        memcpy(choice->best_on_demand, plan->on_demand, choice->n_layers * sizeof *plan->on_demand);
        choice->best.on_demand = choice->best_on_demand;
    }
    choice->best_time = time;
    choice->best_read_pages = read_pages;
}

static void try_plan(struct choice *choice, const struct run_plan *plan)
{
    double time;
    uint64_t read_pages;
    if (!measure(choice, plan, PASSES, choice->fastest_time * NEARLY, &time, &read_pages))
        return;
    if (choice->fastest_time > time)
        choice->fastest_time = time;
    bool best_is_near = choice->best_time <= choice->fastest_time * NEARLY;
    if (!best_is_near || read_pages < choice->best_read_pages ||
        (read_pages == choice->best_read_pages && time < choice->best_time))
        take(choice, plan, time, read_pages);
}

static void try_mask(struct choice *choice, const bool *mask)
{
    for (unsigned i = 0; i < N_MANNERS; i++)
        try_plan(choice, &(struct run_plan){mask, manners[i].look_ahead, manners[i].depth});
}

static int compare_pages(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static int try_spread_masks(struct choice *choice)
{
    uint32_t n_layers = choice->n_layers;
    _cleanup_(freep) uint64_t *sorted = reallocarray(NULL, n_layers, sizeof *sorted);
    uint64_t previous = UINT64_MAX;
    if (!sorted)
        return -ENOMEM;
    memcpy(sorted, choice->pages, n_layers * sizeof *sorted);
    qsort(sorted, n_layers, sizeof *sorted, compare_pages);
    for (uint32_t quartile = SIZES; quartile > 0; quartile--) {
        uint64_t size_pages = sorted[(n_layers * quartile + SIZES - 1) / SIZES - 1];
        if (size_pages == previous)
            continue;
        previous = size_pages;
        for (unsigned n_slots = 2; n_slots > 0; n_slots--)
            if (keep_spread(choice, size_pages, n_slots, choice->mask))
                try_mask(choice, choice->mask);
    }
    return 0;
}

static bool are_equal(const struct choice *choice)
{
    for (uint32_t i = 1; i < choice->n_layers; i++)
        if (choice->pages[i] != choice->pages[0])
            return false;
    return true;
}

/* A few passes tell most plans that are no good. */
static void try_small_plan(struct choice *choice, const struct run_plan *plan)
{
    double time;
    uint64_t read_pages;
    if (measure(choice, plan, PASSES / 2, choice->fastest_time * SCREENED, &time, &read_pages))
        try_plan(choice, plan);
}

static double compute_time(const struct choice *choice)
{
    return (double)choice->total_pages * choice->cycle.compute_per_page;
}

/* Until one is found that takes no longer than to compute, or to read what does not stay. */
static void try_every_mask(struct choice *choice)
{
    double read_time = (double)(choice->total_pages - choice->cycle.capacity_pages);
    double compute = compute_time(choice);
    double enough_time = (read_time < compute ? compute : read_time) * NEARLY;
    unsigned n_masks = 1, n_ways = are_equal(choice) ? 2 : 3;
    for (uint32_t i = 0; i < choice->n_layers; i++)
        n_masks *= n_ways;
    for (unsigned number = 0; number < n_masks && choice->fastest_time > enough_time; number++) {
        unsigned digits = number;
        for (uint32_t i = 0; i < choice->n_layers; i++, digits /= n_ways) {
            choice->mask[i] = digits % n_ways == 1;
            choice->on_demand[i] = digits % n_ways == 2;
        }
        unsigned n_manners = fits(choice, choice->mask, 1) ? N_SMALL_MANNERS : 0;
        for (unsigned i = 0; i < n_manners; i++)
            try_small_plan(choice, &(struct run_plan){choice->mask, small_manners[i].look_ahead,
                                                      small_manners[i].depth, choice->on_demand});
    }
}

/* Takes the reference if it is faster in the long run, or if that is too close to tell and the best
 * one is not as fast as computing. */
static void verify(struct choice *choice, const struct run_plan *reference)
{
    unsigned n_passes = choice->n_layers + PASSES;
    double time, reference_time;
    uint64_t read_pages, reference_pages;
    if (!measure(choice, reference, PASSES, choice->best_time * SCREENED, &reference_time,
                 &reference_pages))
        return;
    if (measure(choice, reference, n_passes, INFINITY, &reference_time, &reference_pages) &&
        (!measure(choice, &choice->best, n_passes, INFINITY, &time, &read_pages) ||
         reference_time < time ||
         (reference_time < time * TELLING && time > compute_time(choice) * (1 + 1e-9))))
        take(choice, reference, reference_time, reference_pages);
}

/* Tries all, and leaves the best in `best`. */
static int choose(struct choice *choice)
{
    memset(choice->mask, false, choice->n_layers * sizeof *choice->mask);
    struct run_plan min = {choice->mask, 0, 0};
    try_plan(choice, &min);
    try_mask(choice, choice->mask);
    keep_first(choice, choice->first_mask);
    try_mask(choice, choice->first_mask);
    int r = try_spread_masks(choice);
    if (r < 0)
        return r;
    if (choice->n_layers <= TRIED_LAYERS_MAX)
        try_every_mask(choice);

    memset(choice->mask, false, choice->n_layers * sizeof *choice->mask);
    verify(choice, &min);
    verify(choice,
           &(struct run_plan){choice->first_mask, manners[RING].look_ahead, manners[RING].depth});
    return 0;
}

int planner_plan(uint32_t n_layers, const uint64_t *pages, uint64_t capacity_pages,
                 double compute_per_page, double start_pages, bool *masks, struct run_plan *ret)
{
    _cleanup_(freep) bool *tried = calloc(3, n_layers);
    struct choice choice = {
        .pages = pages,
        .n_layers = n_layers,
        .mask = tried,
        .on_demand = tried + n_layers,
        .first_mask = tried + 2 * n_layers,
        .best_mask = masks,
        .best_on_demand = masks + n_layers,
        .best = {masks, manners[RING].look_ahead, manners[RING].depth},
        .best_time = INFINITY,
        .fastest_time = INFINITY,
    };
    int r = tried ? cycle_init(&choice.cycle, n_layers, pages, capacity_pages, compute_per_page)
                  : -ENOMEM;
    if (r < 0)
        return r;
    choice.cycle.start_pages = start_pages;
    for (uint32_t i = 0; i < n_layers; i++)
        choice.total_pages += pages[i];
    memset(masks, false, n_layers * sizeof *masks);
    if (choice.total_pages > capacity_pages && n_layers <= REHEARSED_LAYERS_MAX)
        r = choose(&choice);
    else if (choice.total_pages > capacity_pages && !keep_spread(&choice, UINT64_MAX, 2, masks))
        memset(masks, false, n_layers * sizeof *masks); /* not even two fit */
    cycle_done(&choice.cycle);
    if (r == 0)
        *ret = choice.best;
    return r;
}

/* Of the arena's pages, by bytes among the models that runs go through, `model` always among them.
 */
static uint64_t share_pages(const struct scheduler *scheduler, const struct model *model)
{
    uint64_t capacity_pages = arena_capacity_pages(scheduler_arena(scheduler));
    double bytes = (double)model->definition->bytes, total_bytes = bytes;
    for (const struct model *other = scheduler_first_model(scheduler); other; other = other->next)
        if (other != model && other->n_runs > 0)
            total_bytes += (double)other->definition->bytes;
    return total_bytes > bytes ? (uint64_t)((double)capacity_pages * bytes / total_bytes)
                               : capacity_pages;
}

/* Than the plan that the model has. */
static int is_clearly_faster(const struct model *model, const uint64_t *pages,
                             double compute_per_page, double start_pages,
                             const struct run_plan *plan, bool *ret)
{
    uint32_t n_layers = model->definition->n_layers;
    _cleanup_(freep) bool *keep = reallocarray(NULL, n_layers, 2 * sizeof *keep);
    struct choice choice = {.pages = pages, .n_layers = n_layers};
    double time, present_time;
    uint64_t read_pages;
    if (!keep)
        return -ENOMEM;
    int r = cycle_init(&choice.cycle, n_layers, pages, model->planned_pages, compute_per_page);
    if (r < 0)
        return r;
    choice.cycle.start_pages = start_pages;
    bool *on_demand = keep + n_layers;
    for (uint32_t i = 0; i < n_layers; i++) {
        keep[i] = model->layers[i].keep;
        on_demand[i] = model->layers[i].on_demand;
    }
    struct run_plan present = {keep, model->look_ahead, model->depth, on_demand};
    *ret = !measure(&choice, &present, PASSES, INFINITY, &present_time, &read_pages) ||
           !measure(&choice, plan, PASSES, INFINITY, &time, &read_pages) ||
           time < present_time * CLEARLY;
    cycle_done(&choice.cycle);
    return 0;
}

int planner_choose(struct scheduler *scheduler, struct model *model,
                   const struct rehearsal_rates *rates)
{
    const struct definition *definition = model->definition;
    const struct arena *arena = scheduler_arena(scheduler);
    uint64_t capacity_pages = share_pages(scheduler, model);
    double compute_per_page = 1,
           start_pages = (double)START_BYTES / (double)arena_page_bytes(arena);
    struct run_plan plan;

    if (rates->disk_bytes_per_sec > 0 && rates->compute_usec > 0)
        compute_per_page = (double)rates->compute_usec / 1e6 * (double)rates->disk_bytes_per_sec /
                           (double)definition->bytes;
    if (model->planned_pages == capacity_pages && definition->n_layers > REHEARSED_LAYERS_MAX)
        return 0;
    if (model->planned_pages == capacity_pages &&
        compute_per_page < model->planned_compute_per_page * RATES_NEARLY &&
        compute_per_page > model->planned_compute_per_page / RATES_NEARLY)
        return 0;

    _cleanup_(freep) uint64_t *pages = reallocarray(NULL, definition->n_layers, sizeof *pages);
    _cleanup_(freep) bool *masks = reallocarray(NULL, definition->n_layers, 2 * sizeof *masks);
    if (!pages || !masks)
        return -ENOMEM;
    for (uint32_t i = 0; i < definition->n_layers; i++)
        if (arena_footprint(arena, definition->layers[i].bytes, definition->layers[i].shift_bytes,
                            &pages[i]) < 0)
            return -ENOMEM;
    int r = planner_plan(definition->n_layers, pages, capacity_pages, compute_per_page, start_pages,
                         masks, &plan);
    bool is_faster = true;
    if (r == 0 && model->planned_pages == capacity_pages)
        r = is_clearly_faster(model, pages, compute_per_page, start_pages, &plan, &is_faster);
    if (r < 0)
        return r;
    if (is_faster)
        scheduler_set_run_plan(scheduler, model, &plan);
    model->planned_pages = capacity_pages;
    model->planned_compute_per_page = compute_per_page;
    return 0;
}
