/* Owns the policy next-use. The runs say when a layer is used next: each goes through its model in
 * order, so the layer's distance from the run's next layer is known. The distance is the number of
 * bytes that the run uses before the layer, so that runs of different models can be compared.
 *
 * The runs of a model divide its layers into segments. A segment begins at a run's next layer, and
 * ends before the next layer of the run ahead of it. A segment's furthest layer is its last. The
 * cost is linear in the runs and in the layers that are skipped, and for each victim logarithmic in
 * the runs, because the segments are a heap. */
#include "daemon/scheduler/policy.h"

#include "common/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct segment {
    struct model *model;
    uint32_t start;  /* index of its first layer, which is used first */
    uint32_t n_left; /* layers from there on that are still candidates */
    uint32_t place;  /* its position before the segments became a heap; decides between equals */
    uint64_t bytes;  /* distance of its furthest layer of the rank, plus one; 0: it has none */
    uint8_t wanted;  /* if the model has a schedule: the layers that its runs want */
};

struct segments {
    struct segment *elements;
    size_t n;
};

static int compare_index(const void *left, const void *right)
{
    uint32_t a = ((const struct segment *)left)->start, b = ((const struct segment *)right)->start;
    return (a > b) - (a < b);
}

/* Makes a segment for each run. The runs of one model are neighbours in the list. `n_steps_on` is
 * that of run_wants. */
static int find_segments(const struct policy_view *view, uint32_t n_steps_on, struct segments *ret)
{
    const struct run *run;
    size_t n = 0, n_runs = 0;
    TAILQ_FOREACH (run, view->runs, entry)
        n_runs++;
    /* One element more than needed, so that an empty list is no failure. */
    struct segment *segments = calloc(n_runs + 1, sizeof *segments);
    if (!segments)
        return -ENOMEM;
    for (run = TAILQ_FIRST(view->runs); run;) {
        struct model *model = run->model;
        struct segment *first = &segments[n];
        uint8_t wanted = 0;
        for (uint32_t i = 0; i < model->n_runs; i++, run = TAILQ_NEXT(run, entry)) {
            segments[n++] = (struct segment){.model = model, .start = run->next->index};
            wanted |= model->period > 0 ? run_wants(run, n_steps_on) : 0;
        }
        for (uint32_t i = 0; i < model->n_runs; i++)
            first[i].wanted = wanted;
        qsort(first, model->n_runs, sizeof *first, compare_index);
        /* If runs have the same next layer, all but the last get an empty segment. */
        for (uint32_t i = 0; i + 1 < model->n_runs; i++)
            first[i].n_left = first[i + 1].start - first[i].start;
        segments[n - 1].n_left = model->definition->n_layers - segments[n - 1].start + first->start;
    }
    for (size_t i = 0; i < n; i++)
        segments[i].place = (uint32_t)i;
    *ret = (struct segments){segments, n};
    return 0;
}

static uint32_t index_at(const struct segment *segment, uint32_t n)
{
    uint32_t n_layers = segment->model->definition->n_layers;
    uint32_t left = n_layers - segment->start;
    return n < left ? segment->start + n : n - left;
}

/* The bytes of the first `n` layers of a segment. */
static uint64_t distance_bytes(const struct segment *segment, uint32_t n)
{
    const struct model *model = segment->model;
    uint32_t index = index_at(segment, n);
    uint64_t begin_bytes = model->begins_bytes[segment->start];
    return index >= segment->start
               ? model->begins_bytes[index] - begin_bytes
               : model->begins_bytes[index] + (model->definition->bytes - begin_bytes);
}

static bool may_give_way(const struct policy_view *view, const struct layer *layer)
{
    return arena_holds(view->arena, &layer->allocation) && layer->state == LAYER_RESIDENT &&
           layer->n_pins == 0;
}

/* The order in which layers give way. */
enum rank { RANK_UNWANTED, RANK_STREAMED, RANK_KEPT, RANK_AHEAD };

static enum rank rank_of(const struct segment *segment, const struct layer *layer)
{
    if (layer->ahead)
        return RANK_AHEAD;
    if (segment->model->period > 0)
        return segment->wanted >> layer->index & 1 ? RANK_KEPT : RANK_UNWANTED;
    return layer_is_kept(layer) ? RANK_KEPT : RANK_STREAMED;
}

/* Drops the segment's last layers until one of that rank may give way. */
static void pass_over(const struct policy_view *view, struct segment *segment, enum rank rank)
{
    for (; segment->n_left > 0; segment->n_left--) {
        const struct layer *layer = &segment->model->layers[index_at(segment, segment->n_left - 1)];
        if (rank_of(segment, layer) == rank && may_give_way(view, layer))
            break;
    }
    segment->bytes = segment->n_left > 0 ? distance_bytes(segment, segment->n_left - 1) + 1 : 0;
}

static bool goes_before(const struct segment *left, const struct segment *right)
{
    return left->bytes != right->bytes ? left->bytes > right->bytes : left->place < right->place;
}

static void sift_down(struct segments *heap, size_t at)
{
    struct segment moved = heap->elements[at];
    for (size_t child; (child = 2 * at + 1) < heap->n; at = child) {
        if (child + 1 < heap->n && goes_before(&heap->elements[child + 1], &heap->elements[child]))
            child++;
        if (!goes_before(&heap->elements[child], &moved))
            break;
        heap->elements[at] = heap->elements[child];
    }
    heap->elements[at] = moved;
}

/* Makes a heap of the segments, ordered by their furthest layers of that rank. */
static void order_segments(const struct policy_view *view, struct segments *segments,
                           enum rank rank)
{
    for (size_t i = 0; i < segments->n; i++)
        pass_over(view, &segments->elements[i], rank);
    for (size_t i = segments->n / 2; i-- > 0;)
        sift_down(segments, i);
}

/* Takes the furthest layer of `rank`, by which the heap is ordered. Returns NULL if no such layer
 * is used later than `after_bytes`. */
static struct layer *take_furthest(const struct policy_view *view, struct segments *heap,
                                   enum rank rank, uint64_t after_bytes)
{
    struct segment *furthest = heap->elements;
    if (heap->n == 0 || furthest->bytes <= after_bytes)
        return NULL;
    struct layer *layer = &furthest->model->layers[index_at(furthest, --furthest->n_left)];
    pass_over(view, furthest, rank);
    sift_down(heap, 0);
    return layer;
}

/* The layer's distance, plus one as in struct segment. */
static uint64_t find_distance(const struct segments *segments, const struct layer *layer)
{
    for (const struct segment *s = segments->elements; s < segments->elements + segments->n; s++) {
        uint32_t n_layers = s->model->definition->n_layers;
        uint32_t n = (layer->index + n_layers - s->start) % n_layers;
        if (s->model == layer->model && n < s->n_left)
            return distance_bytes(s, n) + 1;
    }
    return UINT64_MAX;
}

static int append_runs_layers(const struct policy_view *view, const struct layer *target,
                              struct victims *victims)
{
    struct segments segments;
    uint32_t n_steps_on = target ? 0 : 1;
    int r = find_segments(view, n_steps_on, &segments);
    if (r < 0)
        return r;
    uint64_t after_bytes = target ? find_distance(&segments, target) : 0;
    order_segments(view, &segments, RANK_UNWANTED);
    for (enum rank rank = RANK_UNWANTED; r == 0 && !victims_are_enough(victims, view);) {
        struct layer *layer =
            take_furthest(view, &segments, rank, rank == RANK_UNWANTED ? 0 : after_bytes);
        if (layer) {
            r = victims_append(victims, layer);
        } else if (target && rank == RANK_STREAMED) {
            r = -ENOSPC;
        } else {
            assert(rank < RANK_AHEAD);
            rank++;
            free(TAKE_PTR(segments.elements));
            r = find_segments(view, n_steps_on, &segments);
            if (r == 0)
                order_segments(view, &segments, rank);
        }
    }
    free(segments.elements);
    return r;
}

static int choose(const struct policy_view *view, const struct layer *target,
                  struct victims *victims)
{
    uint64_t n_left = view->n_outside_runs;
    for (struct layer *layer = view->oldest;
         layer && n_left > 0 && !victims_are_enough(victims, view); layer = layer->newer) {
        if (layer->model->n_runs > 0)
            continue;
        int r = victims_append(victims, layer);
        if (r < 0)
            return r;
        n_left--;
    }
    int r = victims_are_enough(victims, view) ? 0 : append_runs_layers(view, target, victims);
    if (r == 0)
        victims_spare_needless(victims, view);
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
