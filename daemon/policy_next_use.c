/* Owns the policy next-use. When a layer is used next follows from the runs: each goes through its
 * model in order, so the distance from a run's next layer is known, and is counted in the bytes
 * that the run uses before, which makes runs of different models comparable.
 *
 * Cost: linear in the layers of the models that runs go through, and a logarithm for each victim.
 */
#include "daemon/policy.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct candidate {
    struct layer *layer;
    uint64_t next_use_bytes; /* that some run uses before it comes to the layer */
};

/* A heap, furthest first; every layer that is kept comes after all others. */
struct candidates {
    struct candidate *elements;
    size_t n;
    uint64_t target_bytes; /* next use of the layer that was asked for */
};

static bool comes_before(const struct candidate *a, const struct candidate *b)
{
    if (a->layer->keep != b->layer->keep)
        return b->layer->keep;
    return a->next_use_bytes > b->next_use_bytes;
}

static void sift_down(struct candidates *heap, size_t i)
{
    struct candidate element = heap->elements[i];
    for (size_t child; (child = 2 * i + 1) < heap->n; i = child) {
        if (child + 1 < heap->n && comes_before(&heap->elements[child + 1], &heap->elements[child]))
            child++;
        if (!comes_before(&heap->elements[child], &element))
            break;
        heap->elements[i] = heap->elements[child];
    }
    heap->elements[i] = element;
}

static struct layer *pop(struct candidates *heap)
{
    struct layer *layer = heap->elements[0].layer;
    heap->elements[0] = heap->elements[--heap->n];
    if (heap->n > 0)
        sift_down(heap, 0);
    return layer;
}

static int compare_index(const void *left, const void *right)
{
    const uint32_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* Adds the layers of one model that may give way. Its runs stand together, `n_runs` from `run` on.
 */
static int add_model(struct candidates *candidates, const struct policy_view *view,
                     const struct run *run, uint32_t n_runs, const struct layer *target)
{
    struct model *model = run->model;
    uint32_t n_layers = model->definition->n_layers;
    _cleanup_(freep) uint32_t *starts = reallocarray(NULL, n_runs, sizeof *starts);
    if (!starts)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_runs; i++, run = LIST_NEXT(run, entry))
        starts[i] = run->next->index;
    qsort(starts, n_runs, sizeof *starts, compare_index);

    /* Each run is the next to come by, as far as the place of the run before it. */
    for (uint32_t i = 0; i < n_runs; i++) {
        uint32_t index = starts[i], end = starts[(i + 1) % n_runs];
        uint64_t bytes = 0;
        if (index == end && i + 1 < n_runs)
            continue;
        do {
            struct layer *layer = &model->layers[index];
            if (layer == target)
                candidates->target_bytes = bytes;
            if (arena_holds(view->arena, &layer->allocation) && layer->state == LAYER_RESIDENT &&
                layer->n_pins == 0)
                candidates->elements[candidates->n++] = (struct candidate){layer, bytes};
            bytes += layer_definition(layer)->bytes;
            index = index + 1 < n_layers ? index + 1 : 0;
        } while (index != end);
    }
    return 0;
}

static int find_candidates(const struct policy_view *view, const struct layer *target,
                           struct candidates *ret)
{
    struct candidates candidates = {
        .elements = reallocarray(NULL, view->n_layers, sizeof *candidates.elements)};
    if (!candidates.elements)
        return -ENOMEM;

    for (const struct run *run = LIST_FIRST(view->runs); run;) {
        uint32_t n_runs = run->model->n_runs;
        int r = add_model(&candidates, view, run, n_runs, target);
        if (r < 0) {
            free(candidates.elements);
            return r;
        }
        while (n_runs-- > 0)
            run = LIST_NEXT(run, entry);
    }
    for (size_t i = candidates.n / 2; i-- > 0;)
        sift_down(&candidates, i);
    *ret = candidates;
    return 0;
}

/* With a target: -ENOSPC if what may give way to it does not suffice. */
static int choose(const struct policy_view *view, const struct layer *target,
                  struct victims *victims)
{
    for (struct layer *layer = view->oldest; layer && victims->pages < view->needed_pages;
         layer = layer->newer) {
        int r = layer->model->n_runs > 0 ? 0 : victims_append(victims, layer);
        if (r < 0)
            return r;
    }
    if (victims->pages >= view->needed_pages)
        return 0;

    struct candidates candidates;
    int r = find_candidates(view, target, &candidates);
    if (r < 0)
        return r;
    while (r == 0 && victims->pages < view->needed_pages) {
        const struct candidate *first = candidates.n > 0 ? &candidates.elements[0] : NULL;
        assert(first || target);
        if (target &&
            (!first || first->layer->keep || first->next_use_bytes <= candidates.target_bytes))
            r = -ENOSPC;
        else
            r = victims_append(victims, pop(&candidates));
    }
    free(candidates.elements);
    return r;
}

int policy_choose_for_reading_ahead(const struct policy_view *view, const struct layer *target,
                                    struct victims *victims)
{
    return choose(view, target, victims);
}

static int choose_next_use(const struct policy_view *view, struct victims *victims)
{
    return choose(view, NULL, victims);
}

const struct policy policy_next_use = {.name = "next-use", .choose = choose_next_use};
