/* The uses of a pass are kept until it ends. Distances are in cycles through the model. To compare
 * models they are multiplied by the recent mean time of a cycle, or by the time since the last
 * request if that is longer: so a model that rests gives way to one that works. */
#include "common/residency/layer_uses.h"

#include "common/residency/expected_use.h"

#include <stdlib.h>
#include <string.h>

struct place {
    uint32_t group;
    uint16_t index;   /* in the group */
    uint16_t is_used; /* in this pass */
};

struct layer_uses {
    struct expected_use *expected;
    struct place *places;  /* of each layer */
    uint32_t *first_layer; /* of each group */
    uint32_t *pass;        /* indices in `group` of what this pass has used */
    uint32_t n_layers, n_groups, n_pass, n_pass_max, group;
    bool has_pass;
    uint64_t begun_usec, cycle_usec; /* of the current cycle; mean of the recent ones, 0: unknown */
    uint64_t used_usec;              /* last request */
};

bool layer_is_unit(const char *name)
{
    const char *end = strrchr(name, ':');
    return end && end[1] == 'u' && end[2] >= '0' && end[2] <= '9';
}

bool layer_are_parts(const char *left, const char *right)
{
    const char *end = strrchr(left, ':');
    return end && strncmp(left, right, (size_t)(end - left) + 1) == 0 &&
           strrchr(right, ':') == right + (end - left);
}

/* Returns the size of the largest group. */
static uint32_t find_groups(struct layer_uses *uses, const char *(*name)(const void *, uint32_t),
                            const void *context, uint32_t *n_units)
{
    uint32_t largest = 0;

    for (uint32_t i = 0; i < uses->n_layers; i++) {
        uint32_t *n = uses->n_groups > 0 ? &n_units[uses->n_groups - 1] : NULL;
        if (!n || *n == EXPECTED_USE_LAYER_UNITS_MAX ||
            !layer_are_parts(name(context, i - 1), name(context, i))) {
            uses->first_layer[uses->n_groups] = i;
            n = &n_units[uses->n_groups++];
        }
        uses->places[i] = (struct place){uses->n_groups - 1, (uint16_t)*n, false};
        if (++*n > largest)
            largest = *n;
    }
    return largest;
}

struct layer_uses *layer_uses_new(const char *(*name)(const void *, uint32_t), const void *context,
                                  uint32_t n)
{
    _cleanup_(freep) uint32_t *n_units = calloc(n, sizeof *n_units);
    _cleanup_(layer_uses_freep) struct layer_uses *uses = calloc(1, sizeof *uses);

    if (!n_units || !uses)
        return NULL;
    uses->n_layers = n;
    uses->places = calloc(n, sizeof *uses->places);
    uses->first_layer = calloc(n, sizeof *uses->first_layer);
    if (!uses->places || !uses->first_layer)
        return NULL;
    uses->n_pass_max = find_groups(uses, name, context, n_units);
    uses->pass = calloc(uses->n_pass_max, sizeof *uses->pass);
    uint32_t *smaller = reallocarray(uses->first_layer, uses->n_groups, sizeof *uses->first_layer);
    uses->first_layer = smaller ?: uses->first_layer;
    if (!uses->pass || expected_use_new(n_units, uses->n_groups, &uses->expected) < 0)
        return NULL;
    return TAKE_PTR(uses);
}

static void *duplicate(const void *from, size_t n, size_t element_bytes)
{
    void *to = reallocarray(NULL, n, element_bytes);
    return to ? memcpy(to, from, n * element_bytes) : NULL;
}

struct layer_uses *layer_uses_copy(const struct layer_uses *from)
{
    _cleanup_(layer_uses_freep) struct layer_uses *uses = malloc(sizeof *uses);

    if (!uses)
        return NULL;
    *uses = *from;
    uses->expected = NULL;
    uses->places = duplicate(from->places, from->n_layers, sizeof *uses->places);
    uses->first_layer = duplicate(from->first_layer, from->n_groups, sizeof *uses->first_layer);
    uses->pass = duplicate(from->pass, from->n_pass_max, sizeof *uses->pass);
    if (!uses->places || !uses->first_layer || !uses->pass ||
        expected_use_copy(from->expected, &uses->expected) < 0)
        return NULL;
    return TAKE_PTR(uses);
}

void layer_uses_free(struct layer_uses *uses)
{
    if (!uses)
        return;
    expected_use_free(uses->expected);
    free(uses->places);
    free(uses->first_layer);
    free(uses->pass);
    free(uses);
}

static void end_pass(struct layer_uses *uses)
{
    expected_use_pass(uses->expected, uses->group, uses->pass, uses->n_pass);
    for (uint32_t i = 0; i < uses->n_pass; i++)
        uses->places[uses->first_layer[uses->group] + uses->pass[i]].is_used = false;
    uses->n_pass = 0;
}

bool layer_uses_is_in_pass(const struct layer_uses *uses, uint32_t layer)
{
    const struct place *place = &uses->places[layer];
    return uses->has_pass && place->group == uses->group && !place->is_used;
}

void layer_uses_enter(struct layer_uses *uses, uint32_t layer, uint64_t now_usec)
{
    const struct place *place = &uses->places[layer];

    uses->used_usec = now_usec;
    if (layer_uses_is_in_pass(uses, layer))
        return;
    if (uses->n_pass > 0)
        end_pass(uses);
    if (uses->has_pass && place->group <= uses->group) {
        uint64_t usec = now_usec - uses->begun_usec;
        uses->cycle_usec = uses->cycle_usec > 0 ? (3 * uses->cycle_usec + usec) / 4 : usec;
    }
    if (!uses->has_pass || place->group <= uses->group)
        uses->begun_usec = now_usec;
    uses->has_pass = true;
    uses->group = place->group;
    expected_use_enter(uses->expected, place->group);
}

void layer_uses_add(struct layer_uses *uses, uint32_t layer)
{
    struct place *place = &uses->places[layer];

    if (place->is_used)
        return;
    place->is_used = true;
    uses->pass[uses->n_pass++] = place->index;
}

static struct unit_id unit_of(const struct layer_uses *uses, uint32_t layer)
{
    return (struct unit_id){uses->places[layer].group, uses->places[layer].index};
}

int layer_uses_percent(const struct layer_uses *uses, uint32_t layer)
{
    double frequency = expected_use_frequency(uses->expected, unit_of(uses, layer));
    int percent = (int)(frequency * 100 + 0.5);

    return frequency < 0 ? -1 : percent < 100 ? percent : 100;
}

void layer_uses_offer(struct layer_uses *uses, uint32_t layer)
{
    expected_use_offer(uses->expected, unit_of(uses, layer));
}

void layer_uses_withdraw(struct layer_uses *uses, uint32_t layer)
{
    expected_use_withdraw(uses->expected, unit_of(uses, layer));
}

void layer_uses_withdraw_all(struct layer_uses *uses)
{
    expected_use_withdraw_all(uses->expected);
}

double layer_uses_furthest(struct layer_uses *uses, uint64_t now_usec, uint32_t *ret)
{
    struct unit_id unit;
    double distance = expected_use_furthest(uses->expected, &unit);
    uint64_t rest_usec = now_usec > uses->used_usec ? now_usec - uses->used_usec : 0;
    uint64_t cycle_usec = uses->cycle_usec > rest_usec ? uses->cycle_usec : rest_usec;

    if (distance < 0)
        return -1;
    *ret = uses->first_layer[unit.layer] + unit.index;
    return distance * (double)(cycle_usec > 0 ? cycle_usec : 1);
}
