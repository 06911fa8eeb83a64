/* Owns the policy expected-use. What each model's layers were used for says when they are used
 * next, see layer_uses.h. A victim costs as many steps as there are models, and for one of them a
 * number that is logarithmic in its layers. */
#include "daemon/scheduler/policy.h"

/* NULL: no layer may be evicted any more. */
static struct layer *find_furthest(const struct policy_view *view)
{
    struct layer *furthest = NULL;
    double longest = -1;

    for (const struct model *model = view->models; model; model = model->next) {
        uint32_t index;
        double distance = layer_uses_furthest(model->uses, view->now_usec, &index);
        if (distance > longest) {
            longest = distance;
            furthest = &model->layers[index];
        }
    }
    return furthest;
}

/* A victim is no candidate while the others are chosen. */
static int choose(const struct policy_view *view, struct victims *victims)
{
    size_t first = victims->n_listed;
    int r = 0;

    while (r == 0 && !victims_are_enough(victims, view)) {
        struct layer *layer = find_furthest(view);
        if (!layer)
            break;
        r = victims_append(victims, layer);
        if (r == 0)
            layer_uses_withdraw(layer->model->uses, layer->index);
    }
    for (size_t i = victims->n_listed; i-- > first;)
        layer_uses_offer(victims->layers[i]->model->uses, victims->layers[i]->index);
    if (r == 0)
        victims_spare_needless(victims, view);
    return r;
}

const struct policy policy_expected_use = {.name = "expected-use", .choose = choose};
