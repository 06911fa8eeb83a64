/* Owns the search: dynamic programming forwards, from layer to layer. It compares ways that lead to
 * the same layers in the arena, and continues only those that are not behind another one in every
 * respect, at most WIDTH for each set of layers. So it may miss the best way, but not by much. A
 * busy disk need not start again; the times include this, but the comparison of ways does not. The
 * times are those of run_simulation, if the sets lead to the same decisions there. */
#include "daemon/scheduler/residency_search.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SETS = 1 << RESIDENCY_SEARCH_LAYERS_MAX,
    WIDTH = 8,
    STEPS = RESIDENCY_SEARCH_PASSES * RESIDENCY_SEARCH_LAYERS_MAX
};

/* One way to reach a step. */
struct way {
    double now, disk_free;
    double ready[RESIDENCY_SEARCH_LAYERS_MAX]; /* of the layers in `ahead`; 0 for others */
    uint64_t read_pages;
    uint16_t from;        /* number of the way before, in the step before */
    uint8_t there, ahead; /* sets: resident or being read; and of these, not used yet */
};

struct ways {
    struct way elements[SETS][WIDTH];
    uint8_t n[SETS]; /* ways that lead to each set */
};

struct search {
    const struct run_simulation *simulation;
    uint64_t pages[SETS];               /* of each set */
    uint64_t least_pages[SETS];         /* of the smallest layer in each set */
    struct ways ways[2];                /* before a step, and after it */
    uint16_t from[STEPS][SETS * WIDTH]; /* for each way after each step */
};

static bool is_behind(const struct way *way, const struct way *other, uint32_t n_layers)
{
    if (way->now < other->now || way->disk_free < other->disk_free ||
        (other->ahead & ~way->ahead) != 0)
        return false;
    for (uint32_t i = 0; i < n_layers; i++)
        if (way->ready[i] < other->ready[i])
            return false;
    return true;
}

/* Adds a way to those that lead to the same set. */
static void add(struct ways *ways, const struct way *way, uint32_t n_layers)
{
    struct way *same = ways->elements[way->there];
    unsigned n = 0, last = 0;
    for (unsigned i = 0; i < ways->n[way->there]; i++)
        if (is_behind(way, &same[i], n_layers))
            return;
    for (unsigned i = 0; i < ways->n[way->there]; i++)
        if (!is_behind(&same[i], way, n_layers))
            same[n++] = same[i];
    for (unsigned i = 1; i < n; i++)
        if (same[i].now + same[i].disk_free > same[last].now + same[last].disk_free)
            last = i;
    if (n < WIDTH)
        same[n++] = *way;
    else if (way->now + way->disk_free < same[last].now + same[last].disk_free)
        same[last] = *way;
    ways->n[way->there] = (uint8_t)n;
}

static void read_layer(const struct run_simulation *simulation, struct way *way, uint32_t index)
{
    if (way->disk_free <= way->now)
        way->disk_free = way->now + simulation->start_pages;
    way->disk_free += (double)simulation->pages[index];
    way->ready[index] = way->disk_free;
    way->read_pages += simulation->pages[index];
    way->ahead |= (uint8_t)(1U << index);
}

/* The run enters the layer `at`, with the set `there`. Missing layers are read in the order of
 * their use. */
static void enter(const struct run_simulation *simulation, struct way *way, uint32_t at,
                  unsigned there)
{
    unsigned reads = there & ~(unsigned)way->there;
    for (uint32_t i = 0; i < simulation->n_layers; i++) {
        uint32_t index = at + i < simulation->n_layers ? at + i : at + i - simulation->n_layers;
        if (reads >> index & 1)
            read_layer(simulation, way, index);
    }
    if (way->now < way->ready[at])
        way->now = way->ready[at];
    way->ready[at] = 0;
    way->ahead &= (uint8_t) ~(1U << at);
    way->now += (double)simulation->pages[at] * simulation->compute_per_page;
    way->there = (uint8_t)there;
    if (way->disk_free < way->now)
        way->disk_free = way->now; /* earlier times make no difference */
    for (uint32_t i = 0; i < simulation->n_layers; i++)
        if (way->ready[i] <= way->now)
            way->ready[i] = 0;
}

/* Adds the ways from `from` to every set that fits, if no layer gives way needlessly or before its
 * use. */
static void follow(const struct search *search, const struct way *from, uint16_t number,
                   uint32_t at, struct ways *ways)
{
    uint64_t capacity_pages = search->simulation->capacity_pages;
    uint32_t n_layers = search->simulation->n_layers;
    for (unsigned there = 0; there < 1U << n_layers; there++) {
        unsigned victims = from->there & ~there;
        if (!(there >> at & 1) || (from->ahead & victims) != 0 ||
            search->pages[there] > capacity_pages ||
            (victims && search->pages[there] + search->least_pages[victims] <= capacity_pages))
            continue;
        struct way way = *from;
        way.from = number;
        enter(search->simulation, &way, at, there);
        add(ways, &way, n_layers);
    }
}

static void take_step(struct search *search, unsigned step)
{
    const struct ways *before = &search->ways[step % 2];
    struct ways *after = &search->ways[(step + 1) % 2];
    memset(after->n, 0, sizeof after->n);
    for (unsigned set = 0; set < SETS; set++)
        for (unsigned i = 0; i < before->n[set]; i++)
            follow(search, &before->elements[set][i], (uint16_t)(set * WIDTH + i),
                   step % search->simulation->n_layers, after);
    for (unsigned set = 0; set < SETS; set++)
        for (unsigned i = 0; i < after->n[set]; i++)
            search->from[step][set * WIDTH + i] = after->elements[set][i].from;
}

static uint16_t find_fastest(const struct ways *ways)
{
    const struct way *fastest = NULL;
    uint16_t number = 0;
    for (unsigned set = 0; set < SETS; set++)
        for (unsigned i = 0; i < ways->n[set]; i++)
            if (!fastest || ways->elements[set][i].now < fastest->now) {
                fastest = &ways->elements[set][i];
                number = (uint16_t)(set * WIDTH + i);
            }
    return number;
}

int residency_search(const struct run_simulation *simulation,
                     uint8_t ret[static RESIDENCY_SEARCH_PASSES * RESIDENCY_SEARCH_LAYERS_MAX])
{
    _cleanup_(freep) struct search *search = calloc(1, sizeof *search);
    unsigned n_steps = RESIDENCY_SEARCH_PASSES * simulation->n_layers;
    if (!search)
        return -ENOMEM;
    search->simulation = simulation;
    for (unsigned set = 1; set < 1U << simulation->n_layers; set++) {
        unsigned others = set & (set - 1);
        uint64_t pages = simulation->pages[__builtin_ctz(set)];
        search->pages[set] = search->pages[others] + pages;
        search->least_pages[set] =
            others && search->least_pages[others] < pages ? search->least_pages[others] : pages;
    }
    search->ways[0].n[0] = 1; /* no layer is resident */
    for (unsigned step = 0; step < n_steps; step++)
        take_step(search, step);
    uint16_t number = find_fastest(&search->ways[n_steps % 2]);
    for (unsigned step = n_steps; step-- > 0; number = search->from[step][number])
        ret[step] = (uint8_t)(number / WIDTH);
    return 0;
}
