/* Owns the simple eviction policies and the table of all. A policy only chooses: it never changes a
 * layer or the arena. The scheduler checks first whether an eviction can help at all. */
#include "daemon/scheduler/policy.h"

#include <assert.h>
#include <string.h>

static int choose_everything(const struct policy_view *view, struct victims *victims)
{
    for (struct layer *layer = view->oldest;
         layer && (view->n_victims_max == 0 || victims->n_layers < view->n_victims_max);
         layer = layer->newer) {
        int r = victims_append(victims, layer);
        if (r < 0)
            return r;
    }
    return 0;
}

static int choose_least_recent(const struct policy_view *view, struct victims *victims)
{
    unsigned n_looks = POLICY_LOOKS_MAX;
    for (struct layer *layer = view->oldest; layer && n_looks-- > 0; layer = layer->newer)
        if (layer->allocation.n_pages >= view->needed_pages)
            return victims_append(victims, layer);

    for (struct layer *layer = view->oldest; !victims_are_enough(victims, view);
         layer = layer->newer) {
        assert(layer);
        int r = victims_append(victims, layer);
        if (r < 0)
            return r;
    }
    return 0;
}

const struct policy policy_flush_all = {
    .name = "flush-all", .everything = true, .choose = choose_everything};
const struct policy policy_lru = {.name = "lru", .choose = choose_least_recent};

const struct policy *const policies[] = {&policy_flush_all, &policy_lru, &policy_next_use,
                                         &policy_expected_use, NULL};

const struct policy *policy_find(const char *name)
{
    for (size_t i = 0; policies[i]; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}
