/* Owns the eviction policies and the list of victims. A policy only chooses: it never changes a
 * layer or the arena. The scheduler checks first whether an eviction can help at all. */
#include "daemon/scheduler/policy.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* The array doubles whenever it is full, which is at each power of two. */
int victims_append(struct victims *victims, struct layer *layer)
{
    size_t n = victims->n_listed;
    if ((n & (n - 1)) == 0) {
        struct layer **layers =
            reallocarray(victims->layers, n == 0 ? 1 : 2 * n, sizeof *victims->layers);
        if (!layers)
            return -ENOMEM;
        victims->layers = layers;
    }
    victims->layers[victims->n_listed++] = layer;
    victims->n_layers++;
    victims->pages += layer->allocation.n_pages;
    return 0;
}

void victims_done(struct victims *victims)
{
    free(victims->layers);
    *victims = (struct victims){0};
}

bool victims_are_enough(const struct victims *victims, const struct policy_view *view)
{
    return victims->pages >= view->needed_pages ||
           (view->n_victims_max > 0 && victims->n_layers >= view->n_victims_max);
}

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

const struct policy *const policies[] = {&policy_flush_all, &policy_lru, &policy_next_use, NULL};

const struct policy *policy_find(const char *name)
{
    for (size_t i = 0; policies[i]; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}
