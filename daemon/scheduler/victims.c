/* Owns the list of victims. */
#include "daemon/scheduler/victims.h"

#include <errno.h>
#include <stdlib.h>

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

void victims_spare_needless(struct victims *victims, const struct policy_view *view)
{
    size_t n = 0;
    for (size_t i = victims->n_listed; i-- > 0;) {
        uint64_t n_pages = victims->layers[i]->allocation.n_pages;
        if (victims->pages - n_pages < view->needed_pages)
            continue;
        victims->pages -= n_pages;
        victims->layers[i] = NULL;
    }
    for (size_t i = 0; i < victims->n_listed; i++)
        if (victims->layers[i])
            victims->layers[n++] = victims->layers[i];
    victims->n_listed = victims->n_layers = n;
}
