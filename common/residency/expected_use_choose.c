/* How the furthest unit is found. Within a layer all units share d, so the unit with the smallest p
 * is the furthest. Each layer has a heap of its offered units, the smallest long-term frequency
 * first. All of these decay by the same factor a pass, so their order changes only for units that a
 * pass uses. The long-term part of p is a lower bound of p: the search goes down from the heap's
 * top and leaves a branch as soon as that bound reaches the best p. p changes only with the layer's
 * own passes, so the result is kept until the layer changes, and a tournament tree over the layers
 * finds the furthest result of all.
 *
 * The search is exact unless it has examined EXAMINED_MAX units of one layer. Then it takes the
 * best of these. They include the units with the smallest long-term frequencies, level by level of
 * the heap.
 *
 * Which units follow a unit is counted as by J. Misra and D. Gries ("Finding repeated elements",
 * 1982): a count is at most too small. */
#include "common/residency/expected_use_internal.h"

#include <float.h>

/* The results on route traces hardly change when these values are halved or doubled. */
#define CYCLE_WEIGHT  3.0
#define FOLLOW_WEIGHT 0.2F
#define FOLLOW_DOUBT  3 /* added to the uses that a count of followers is divided by */
#define P_MIN         1e-3F

enum { EXAMINED_MAX = 96 /* units of a layer, in a search */ };

static float short_part(const struct expected_use *uses, const struct unit *unit, uint32_t pass)
{
    uint32_t age = pass - unit->used;
    return age < SHORT_TABLE ? unit->short_frequency * uses->short_decay[age] : 0;
}

static float long_part(const struct expected_use *uses, const struct unit *unit, uint32_t pass)
{
    uint32_t age = pass - unit->used;
    return age < LONG_TABLE ? unit->long_frequency * uses->long_decay[age] : 0;
}

static bool goes_above(const struct expected_use *uses, const struct unit *a, const struct unit *b)
{
    uint32_t pass = a->used > b->used ? a->used : b->used;
    return long_part(uses, a, pass) < long_part(uses, b, pass);
}

static struct unit *unit_at(const struct layer *layer, uint32_t place)
{
    return &layer->units[layer->heap[place - 1]];
}

static void set_place(const struct layer *layer, uint32_t place, uint16_t index)
{
    layer->heap[place - 1] = index;
    layer->units[index].place = (uint16_t)place;
}

/* Moves the unit `index` to where it belongs, from `place`. */
static void sift(const struct expected_use *uses, const struct layer *layer, uint32_t place,
                 uint16_t index)
{
    const struct unit *unit = &layer->units[index];

    for (; place > 1 && goes_above(uses, unit, unit_at(layer, place / 2)); place /= 2)
        set_place(layer, place, layer->heap[place / 2 - 1]);
    for (uint32_t child; (child = 2 * place) <= layer->n_offered; place = child) {
        if (child < layer->n_offered &&
            goes_above(uses, unit_at(layer, child + 1), unit_at(layer, child)))
            child++;
        if (!goes_above(uses, unit_at(layer, child), unit))
            break;
        set_place(layer, place, layer->heap[child - 1]);
    }
    set_place(layer, place, index);
}

static void note_change(struct expected_use *uses, struct layer *layer)
{
    if (layer->is_stale)
        return;
    layer->is_stale = true;
    uses->stale[uses->n_stale++] = (uint32_t)(layer - uses->layers);
}

/* A layer whose epoch is over keeps its heap and its furthest unit until it gets an offer. */
static bool has_offers(const struct expected_use *uses, const struct layer *layer)
{
    return layer->epoch == uses->epoch && layer->n_offered > 0;
}

static bool is_offered(const struct expected_use *uses, const struct layer *layer, uint32_t index)
{
    uint32_t place = layer->units[index].place;
    return has_offers(uses, layer) && place > 0 && place <= layer->n_offered &&
           layer->heap[place - 1] == index;
}

void expected_use_offer(struct expected_use *uses, struct unit_id unit)
{
    struct layer *layer = &uses->layers[unit.layer];

    if (is_offered(uses, layer, unit.index))
        return;
    if (layer->epoch != uses->epoch) {
        layer->epoch = uses->epoch;
        layer->n_offered = 0;
    }
    sift(uses, layer, ++layer->n_offered, (uint16_t)unit.index);
    note_change(uses, layer);
}

void expected_use_withdraw(struct expected_use *uses, struct unit_id unit)
{
    struct layer *layer = &uses->layers[unit.layer];
    uint32_t place = layer->units[unit.index].place;

    if (!is_offered(uses, layer, unit.index))
        return;
    layer->units[unit.index].place = 0;
    uint16_t last = layer->heap[--layer->n_offered];
    if (last != unit.index)
        sift(uses, layer, place, last);
    note_change(uses, layer);
}

void expected_use_withdraw_all(struct expected_use *uses)
{
    uses->epoch++;
}

/* Adds what the last pass says about the next one to each unit's `follows`; with `clear`, sets
 * these to 0 instead. */
static void update_follows(struct layer *layer, bool clear)
{
    for (uint32_t i = 0; i < layer->n_recent; i++) {
        const struct unit *unit = &layer->units[layer->recent[i]];
        float share = FOLLOW_WEIGHT / (float)(unit->n_uses + FOLLOW_DOUBT);
        for (size_t j = 0; j < FOLLOWERS; j++) {
            struct unit *follower = &layer->units[unit->followers[j]];
            if (clear)
                follower->follows = 0;
            else
                follower->follows += share * unit->counts[j];
        }
    }
}

static void count_follower(struct unit *unit, uint16_t follower)
{
    size_t empty = FOLLOWERS;

    for (size_t i = 0; i < FOLLOWERS; i++) {
        if (unit->counts[i] > 0 && unit->followers[i] == follower) {
            unit->counts[i] += unit->counts[i] < UINT8_MAX;
            return;
        }
        if (unit->counts[i] == 0)
            empty = i;
    }
    if (empty < FOLLOWERS) {
        unit->followers[empty] = follower;
        unit->counts[empty] = 1;
        return;
    }
    for (size_t i = 0; i < FOLLOWERS; i++)
        unit->counts[i]--;
}

static void count_use(const struct expected_use *uses, struct unit *unit, uint32_t pass)
{
    if (unit->n_uses == UINT8_MAX) {
        unit->n_uses /= 2;
        for (size_t i = 0; i < FOLLOWERS; i++)
            unit->counts[i] /= 2;
    }
    unit->n_uses++;
    unit->short_frequency = short_part(uses, unit, pass) + 1 / SHORT_PASSES;
    unit->long_frequency = long_part(uses, unit, pass) + 1 / LONG_PASSES;
    unit->used = pass;
}

double expected_use_frequency(const struct expected_use *uses, struct unit_id unit)
{
    const struct layer *layer = &uses->layers[unit.layer];
    uint32_t n_passes = layer->n_passes;

    if (n_passes == 0)
        return -1;
    float counted = n_passes < LONG_TABLE ? 1 - uses->long_decay[n_passes] : 1;
    return (double)(long_part(uses, &layer->units[unit.index], n_passes) / counted);
}

void expected_use_enter(struct expected_use *uses, uint32_t layer)
{
    uses->at = layer;
}

void expected_use_pass(struct expected_use *uses, uint32_t at, const uint32_t *units, size_t n)
{
    struct layer *layer = &uses->layers[at];
    bool is_remembered = n <= RECENT_MAX;

    uses->at = at;
    layer->n_passes++;
    update_follows(layer, true);
    for (uint32_t i = 0; is_remembered && i < layer->n_recent; i++)
        for (size_t j = 0; j < n; j++)
            count_follower(&layer->units[layer->recent[i]], (uint16_t)units[j]);
    layer->n_recent = is_remembered ? (uint32_t)n : 0;
    for (size_t i = 0; i < n; i++) {
        struct unit *unit = &layer->units[units[i]];
        count_use(uses, unit, layer->n_passes);
        if (is_offered(uses, layer, units[i]))
            sift(uses, layer, unit->place, (uint16_t)units[i]);
        if (is_remembered)
            layer->recent[i] = (uint16_t)units[i];
    }
    update_follows(layer, false);
    note_change(uses, layer);
}

/* Finds the offered unit with the smallest p, and sets `furthest` and `distance`. */
static void find_furthest(const struct expected_use *uses, struct layer *layer)
{
    uint32_t places[2 * EXAMINED_MAX + 1], n_places = 0, pass = layer->n_passes + 1;
    float smallest = FLT_MAX;

    if (has_offers(uses, layer))
        places[n_places++] = 1;
    for (uint32_t i = 0; i < n_places && i < EXAMINED_MAX; i++) {
        const struct unit *unit = unit_at(layer, places[i]);
        float bound = P_MIN + long_part(uses, unit, pass) / 2;
        if (bound >= smallest)
            continue;
        float p = bound + short_part(uses, unit, pass) / 2 + unit->follows;
        if (p < smallest) {
            smallest = p;
            layer->furthest = layer->heap[places[i] - 1];
        }
        for (uint32_t child = 2 * places[i]; child <= 2 * places[i] + 1; child++)
            if (child <= layer->n_offered)
                places[n_places++] = child;
    }
    double d = (double)(layer - uses->layers) / uses->n_layers;
    layer->distance = has_offers(uses, layer)
                          ? CYCLE_WEIGHT * d + 1 / (smallest < 1 ? (double)smallest : 1) - 1
                          : -1;
}

/* As the layer's, but negative as well if its offers have ended since it was found. */
static double distance_of(const struct expected_use *uses, uint32_t at)
{
    return has_offers(uses, &uses->layers[at]) ? uses->layers[at].distance : -1;
}

static uint32_t further(const struct expected_use *uses, uint32_t a, uint32_t b)
{
    return distance_of(uses, b) > distance_of(uses, a) ? b : a;
}

static void refresh(struct expected_use *uses)
{
    while (uses->n_stale > 0) {
        uint32_t at = uses->stale[--uses->n_stale];
        uses->layers[at].is_stale = false;
        find_furthest(uses, &uses->layers[at]);
        for (uint32_t node = (uses->n_leaves + at) / 2; node > 0; node /= 2)
            uses->tree[node] = further(uses, uses->tree[2 * node], uses->tree[2 * node + 1]);
    }
}

/* The layer with the furthest unit among `first` to `end - 1`, which is not empty. */
static uint32_t furthest_layer(const struct expected_use *uses, uint32_t first, uint32_t end)
{
    uint32_t best = first;

    for (uint32_t low = first + uses->n_leaves, high = end + uses->n_leaves; low < high;
         low /= 2, high /= 2) {
        if (low & 1)
            best = further(uses, best, uses->tree[low++]);
        if (high & 1)
            best = further(uses, best, uses->tree[--high]);
    }
    return best;
}

double expected_use_furthest(struct expected_use *uses, struct unit_id *ret)
{
    refresh(uses);
    /* The layers up to `at` have their next pass in the next cycle. */
    uint32_t best = furthest_layer(uses, 0, uses->at + 1);
    double distance = distance_of(uses, best) + (distance_of(uses, best) < 0 ? 0 : CYCLE_WEIGHT);
    if (uses->at + 1 < uses->n_layers) {
        uint32_t later = furthest_layer(uses, uses->at + 1, uses->n_layers);
        if (distance_of(uses, later) > distance) {
            best = later;
            distance = distance_of(uses, later);
        }
    }
    if (distance < 0)
        return -1;
    *ret = (struct unit_id){best, uses->layers[best].furthest};
    return distance - CYCLE_WEIGHT * uses->at / uses->n_layers;
}

bool expected_use_choose(struct expected_use *uses, struct unit_id *ret)
{
    return expected_use_furthest(uses, ret) >= 0;
}
