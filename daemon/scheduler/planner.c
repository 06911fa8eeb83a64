/* Owns the choice. A candidate is a mask of the layers that are kept, and a manner of reading
 * ahead. run_simulation goes through the model with each candidate. The masks:
 * - no layer: every layer may give way, and the missing layers change from pass to pass;
 * - the first layers: as many as fit beside a ring of two;
 * - for some sizes, all layers larger than that size, and smaller ones evenly spread over the pass,
 *   with room for one or two layers that stream.
 * Belady's MIN is the candidate that keeps no layer and reads none ahead. For models of few layers
 * there are also schedules: parts of the best way through a number of passes (residency_search).
 *
 * Among the candidates that are nearly as fast as the fastest, the planner takes the one that reads
 * least. In the end it compares that one with the two ways known from the literature, MIN and the
 * first layers beside a ring of two, until their passes repeat. So the choice is never slower than
 * these two.
 *
 * The table shows what each part gains: the time of a pass, divided by that of the better one of
 * the two known ways, on the cases of test_planner (320 models of 10 to 80 layers; 400 of 2 to 7;
 * 1,500 of 2 to 7 against the exhaustive optimum):
 *                                       10-80 layers   2-7 layers   worst over the optimum
 *   the two known ways alone            1.000          1.000        2.33
 *   all manners for those two masks     0.931          0.982
 *   and the spread masks                0.921          0.968        1.53
 *   and schedules                       0.921          0.963        1.014
 * Without the last comparison 8 of the 320 would be slower than a known way, by at most 1.3 %. */
#include "daemon/scheduler/planner.h"

#include "daemon/scheduler/residency_search.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    SIZES = 4, /* masks are made for each quartile of the sizes */
    PASSES = PLANNER_PASSES,
    PERIOD_MAX = MODEL_SCHEDULE_STEPS_MAX / MODEL_SCHEDULE_LAYERS_MAX
};
_Static_assert(PASSES % 2 == 0 && PASSES % 3 == 0 && PERIOD_MAX == 3, "whole periods are measured");
static const double NEARLY = 1.01, SCREENED = 1.05, TELLING = 1.002;

static const struct manner {
    uint32_t look_ahead, depth;
} manners[] = {{2, 1}, {4, 1}, {UINT32_MAX, 1}, {UINT32_MAX, 2}};
enum {
    N_MANNERS = sizeof manners / sizeof *manners,
    RING = 2 /* the manner of the ring of two */
};

struct choice {
    struct run_simulation simulation;
    const uint64_t *pages;
    uint64_t total_pages;
    uint32_t n_layers;
    bool *mask; /* the mask that is being tried */
    bool *best_mask, *first_mask;
    uint8_t *best_schedule;
    struct run_plan best;
    struct pass_mean best_mean;
    double fastest_time;
};

/* The most pages of any `n_slots` successive streamed layers; n_slots is 1 or 2. */
static uint64_t room(const struct choice *choice, const bool *mask, unsigned n_slots)
{
    uint64_t most = 0, previous = 0;
    /* Twice around, because the first layer follows the last. */
    for (uint32_t i = 0; i < 2 * choice->n_layers; i++) {
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
    return kept_pages + room(choice, mask, n_slots) <= choice->simulation.capacity_pages;
}

/* Keeps as many of the model's first layers as fit beside two layers that stream. */
static void keep_first(struct choice *choice, bool *mask)
{
    uint32_t n = choice->n_layers;
    memset(mask, true, n * sizeof *mask);
    do
        mask[--n] = false;
    while (n > 0 && !fits(choice, mask, 2));
}

/* Keeps all layers larger than `size_pages`, and of the others a `share` of their bytes, evenly
 * spread. */
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

/* The same, with the largest share that fits beside `n_slots` layers that stream. Returns false if
 * the large layers alone do not fit. */
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

static void take(struct choice *choice, const struct run_plan *plan, const struct pass_mean *mean)
{
    memcpy(choice->best_mask, plan->keep, choice->n_layers * sizeof *plan->keep);
    choice->best = *plan;
    choice->best.keep = choice->best_mask;
    if (plan->schedule) {
        memcpy(choice->best_schedule, plan->schedule, plan->period * choice->n_layers);
        choice->best.schedule = choice->best_schedule;
    }
    choice->best_mean = *mean;
}

static void try_plan(struct choice *choice, const struct run_plan *plan)
{
    const struct pass_mean *best = &choice->best_mean;
    struct pass_mean mean;
    if (!run_simulation_measure(&choice->simulation, plan, PASSES, choice->fastest_time * NEARLY,
                                &mean))
        return;
    if (choice->fastest_time > mean.time)
        choice->fastest_time = mean.time;
    bool best_is_near = best->time <= choice->fastest_time * NEARLY;
    if (!best_is_near || mean.read_pages < best->read_pages ||
        (mean.read_pages == best->read_pages && mean.time < best->time))
        take(choice, plan, &mean);
}

static void try_mask(struct choice *choice, const bool *mask)
{
    for (unsigned i = 0; i < N_MANNERS; i++)
        try_plan(choice, &(struct run_plan){.keep = mask,
                                            .look_ahead = manners[i].look_ahead,
                                            .depth = manners[i].depth});
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

static double compute_time(const struct choice *choice)
{
    return (double)choice->total_pages * choice->simulation.compute_per_page;
}

/* At the start of a pass at most capacity_pages are resident; a pass must read the rest. */
static double unavoidable_read_time(const struct choice *choice)
{
    return (double)(choice->total_pages - choice->simulation.capacity_pages);
}

/* Searches the best way through some passes, and tries each part of it that neither begins in an
 * empty arena nor reaches the end. Does nothing if a plan already takes no longer than all
 * computing, or than all unavoidable reading. */
static int try_schedules(struct choice *choice)
{
    double compute = compute_time(choice), read = unavoidable_read_time(choice);
    uint8_t sets[RESIDENCY_SEARCH_PASSES * RESIDENCY_SEARCH_LAYERS_MAX];
    if (choice->fastest_time <= (read > compute ? read : compute) * NEARLY)
        return 0;
    int r = residency_search(&choice->simulation, sets);
    if (r < 0)
        return r;
    for (uint32_t period = 1; period <= PERIOD_MAX; period++)
        for (uint32_t first = 1; first + period < RESIDENCY_SEARCH_PASSES; first++)
            try_plan(choice, &(struct run_plan){choice->mask, UINT32_MAX, RUN_DEPTH_MAX,
                                                &sets[first * choice->n_layers], period});
    return 0;
}

/* Takes the faster one of the two known ways if the best plan is not faster, or only seems to be.
 * MIN never computes and reads at the same time, so a pass takes at least the time to compute plus
 * the unavoidable time to read. */
static void verify(struct choice *choice, const struct run_plan *min, const struct run_plan *ring)
{
    double min_time = compute_time(choice) + unavoidable_read_time(choice);
    struct pass_mean best = {.time = INFINITY}, reference = best, mean;
    const struct run_plan *plan = ring;
    (void)run_simulation_measure_steady(&choice->simulation, ring,
                                        &reference); /* stays INFINITY if the ring does not work */
    if (choice->best_mean.time * SCREENED > min_time && reference.time > min_time &&
        run_simulation_measure_steady(&choice->simulation, min, &mean) &&
        mean.time < reference.time) {
        reference = mean;
        plan = min;
    }
    if (reference.time > choice->best_mean.time * SCREENED)
        return;
    (void)run_simulation_measure_steady(&choice->simulation, &choice->best, &best);
    bool can_tell = best.repeats && reference.repeats;
    if (reference.time < best.time * (can_tell ? 1 : TELLING))
        take(choice, plan, &reference);
}

/* Tries all candidates, and leaves the best one in `best`. */
static int choose(struct choice *choice)
{
    memset(choice->mask, false, choice->n_layers * sizeof *choice->mask);
    struct run_plan min = {.keep = choice->mask};
    try_plan(choice, &min);
    try_mask(choice, choice->mask);
    keep_first(choice, choice->first_mask);
    try_mask(choice, choice->first_mask);
    int r = try_spread_masks(choice);
    if (r < 0)
        return r;
    memset(choice->mask, false, choice->n_layers * sizeof *choice->mask);
    if (choice->n_layers <= RESIDENCY_SEARCH_LAYERS_MAX)
        r = try_schedules(choice);
    verify(choice, &min,
           &(struct run_plan){.keep = choice->first_mask,
                              .look_ahead = manners[RING].look_ahead,
                              .depth = manners[RING].depth});
    return r;
}

int planner_plan(uint32_t n_layers, const uint64_t *pages, uint64_t capacity_pages,
                 double compute_per_page, double start_pages, bool *keep,
                 uint8_t schedule[static MODEL_SCHEDULE_STEPS_MAX], struct run_plan *ret)
{
    _cleanup_(freep) bool *tried = calloc(2, n_layers);
    struct choice choice = {
        .pages = pages,
        .n_layers = n_layers,
        .mask = tried,
        .first_mask = tried + n_layers,
        .best_mask = keep,
        .best_schedule = schedule,
        .best = {keep, manners[RING].look_ahead, manners[RING].depth},
        .best_mean.time = INFINITY,
        .fastest_time = INFINITY,
    };
    int r = tried ? run_simulation_init(&choice.simulation, n_layers, pages, capacity_pages,
                                        compute_per_page)
                  : -ENOMEM;
    if (r < 0)
        return r;
    choice.simulation.start_pages = start_pages;
    for (uint32_t i = 0; i < n_layers; i++)
        choice.total_pages += pages[i];
    memset(keep, false, n_layers * sizeof *keep);
    if (choice.total_pages > capacity_pages && n_layers <= PLANNER_REHEARSED_LAYERS_MAX)
        r = choose(&choice);
    else if (choice.total_pages > capacity_pages && !keep_spread(&choice, UINT64_MAX, 2, keep))
        memset(keep, false, n_layers * sizeof *keep); /* not even two streamed layers fit */
    run_simulation_done(&choice.simulation);
    if (r == 0)
        *ret = choice.best;
    return r;
}
