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
