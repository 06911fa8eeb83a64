/* Owns the runs: their list, how they go through their models, and which layers are read ahead for
 * them. It always reads the run's next missing layer, and at most as many as its plan's depth.
 * Without that limit the layers of a cycle would evict each other, as with first in, first out. */
#include "daemon/scheduler/scheduler_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int scheduler_begin_run(struct scheduler *scheduler, struct model *model, struct run **ret)
{
    if (scheduler->stats.n_runs == SCHEDULER_RUNS_MAX)
        return -EMFILE;
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return -ENOMEM;
    run->model = model;
    run->next = model->layers;

    /* Inserts the run after the model's last one, or at the end. */
    struct run *beside = NULL;
    if (model->n_runs > 0)
        TAILQ_FOREACH_REVERSE(beside, &scheduler->runs, run_list, entry)
    if (beside->model == model)
        break;
    if (beside)
        TAILQ_INSERT_AFTER(&scheduler->runs, beside, run, entry);
    else
        TAILQ_INSERT_TAIL(&scheduler->runs, run, entry);
    model->n_runs++;
    scheduler_touch_model(scheduler, model);
    scheduler->stats.n_runs++;
    *ret = run;
    return 0;
}

void scheduler_run_start_at(struct scheduler *scheduler, struct run *run, uint32_t index)
{
    (void)scheduler;
    assert(index < run->model->definition->n_layers);
    run->next = &run->model->layers[index];
    run->is_partial = index > 0;
}

struct run *scheduler_end_run(struct scheduler *scheduler, struct run *run)
{
    if (!run)
        return NULL;
    TAILQ_REMOVE(&scheduler->runs, run, entry);
    scheduler_touch_model(scheduler, run->model);
    run->model->n_runs--;
    scheduler->stats.n_runs--;
    free(run);
    return NULL;
}

void scheduler_end_runs(struct scheduler *scheduler)
{
    while (!TAILQ_EMPTY(&scheduler->runs))
        scheduler_end_run(scheduler, TAILQ_FIRST(&scheduler->runs));
}

/* Counts more of the layers that the model's runs stream: of a very large model it counts a portion
 * when the plan changes, and another whenever a run goes on. */
static void count_streamed(const struct scheduler *scheduler, struct model *model)
{
    enum { PORTION = 4096 };
    uint32_t left = model->definition->n_layers - model->n_counted;
    for (uint32_t n = left < PORTION ? left : PORTION; n > 0; n--) {
        const struct layer *layer = &model->layers[model->n_counted++];
        if (!layer_is_kept(layer) && scheduler_layer_state(scheduler, layer) == LAYER_RESIDENT)
            model->streamed_bytes += layer_definition(layer)->bytes;
    }
}

void scheduler_set_run_plan(struct scheduler *scheduler, struct model *model,
                            const struct run_plan *plan, struct kept_layers *kept)
{
    uint32_t n_layers = model->definition->n_layers;
    assert(plan->depth <= RUN_DEPTH_MAX);
    scheduler_renew_counts(scheduler, model);
    kept_layers_unref(model->kept);
    model->kept = kept_layers_ref(kept);
    model->streamed_bytes = 0;
    model->n_counted = 0;
    count_streamed(scheduler, model);
    scheduler_touch_model(scheduler, model);
    model->period = plan->schedule ? plan->period : 0;
    if (plan->schedule) {
        assert(n_layers <= MODEL_SCHEDULE_LAYERS_MAX);
        assert(plan->period > 0 && plan->period * n_layers <= MODEL_SCHEDULE_STEPS_MAX);
        memcpy(model->schedule, plan->schedule, plan->period * n_layers);
    }
    model->look_ahead = plan->look_ahead;
    model->depth = plan->depth;
}

void scheduler_run_enter(struct scheduler *scheduler, struct run *run, uint64_t now_usec)
{
    uint32_t next = run->next->index + 1;
    count_streamed(scheduler, run->model);
    if (next == run->model->definition->n_layers) {
        next = 0;
        run->n_passes++;
        run->model->usage.n_passes++;
        scheduler_touch_model(scheduler, run->model);
    }
    run->next = &run->model->layers[next];
    run->entered_usec = now_usec;
}

void scheduler_run_leave(struct scheduler *scheduler, struct run *run, uint64_t now_usec)
{
    (void)scheduler;
    if (run->entered_usec == 0)
        return;
    run->compute_usec += now_usec - run->entered_usec;
    run->entered_usec = 0;
    if (run->next->index != 0)
        return;
    uint64_t before = run->model->compute_usec;
    if (!run->is_partial)
        run->model->compute_usec =
            before ? (3 * before + run->compute_usec) / 4 : run->compute_usec;
    run->compute_usec = 0;
    run->is_partial = false;
}

/* Returns the first layer, from the run's next one on, that is absent and not too far away; or
 * NULL. If there is a schedule, it must want the layer from now until its use. */
static struct layer *next_missing(const struct scheduler *scheduler, const struct run *run)
{
    const struct model *model = run->model;
    uint32_t n_layers = model->definition->n_layers;
    uint32_t index = (run->next->index + run_is_waiting(run)) % n_layers;
    uint8_t wanted = UINT8_MAX;

    if (scheduler_model_resident(scheduler, model, NULL) + model->n_loading == n_layers)
        return NULL;
    for (uint32_t i = 0; i < n_layers && i < model->look_ahead; i++) {
        struct layer *layer = &model->layers[index];
        wanted &= model->period > 0 ? run_wants(run, i) : UINT8_MAX;
        bool is_wanted = model->period == 0 || wanted >> index & 1;
        if (is_wanted && scheduler_layer_state(scheduler, layer) == LAYER_ABSENT)
            return layer;
        index = index + 1 < n_layers ? index + 1 : 0;
    }
    return NULL;
}

/* Whether the layer was read ahead, and no run has used it yet. */
static bool is_waiting(const struct scheduler *scheduler, const struct layer *layer)
{
    return layer && layer->ahead && scheduler_layer_state(scheduler, layer) != LAYER_ABSENT;
}

static int reserve_ahead(struct scheduler *scheduler, struct layer *layer, uint64_t n_pages,
                         struct verdict *verdict)
{
    int r = arena_prepare(scheduler->arena, n_pages);
    if (r < 0)
        return r;
    scheduler->stats.misses++;
    layer->model->stats.misses++;
    scheduler_reserve(scheduler, layer, n_pages, verdict);
    layer->ahead = 1;
    return 0;
}

int scheduler_read_layer_ahead(struct scheduler *scheduler, struct layer *layer)
{
    _cleanup_(verdict_done) struct verdict verdict = {.decision = DECISION_LOADED};
    uint64_t n_pages = scheduler_footprint(scheduler, layer, NULL);
    uint64_t free_pages = arena_free_pages(scheduler->arena);

    if (scheduler_layer_state(scheduler, layer) != LAYER_ABSENT ||
        n_pages > scheduler_placeable_pages(scheduler))
        return 0;
    if (free_pages < n_pages) {
        struct policy_view view =
            scheduler_view(scheduler, n_pages - free_pages, SCHEDULER_PORTION);
        verdict.decision = DECISION_MUST_UNLOAD;
        int r = scheduler_choose_victims(scheduler, &view, &verdict.victims);
        if (r < 0)
            return r;
        if (verdict.victims.pages < view.needed_pages)
            return 0;
    }
    int r = reserve_ahead(scheduler, layer, n_pages, &verdict);
    return r < 0 ? r : 1;
}

int scheduler_read_ahead(struct scheduler *scheduler, struct run *run, struct layer **ret)
{
    struct layer *layer = NULL, **slot = NULL;
    for (uint32_t i = 0; i < run->model->depth; i++)
        if (!is_waiting(scheduler, run->ahead[i]))
            slot = &run->ahead[i];
    if (slot && scheduler->policy == &policy_next_use)
        layer = next_missing(scheduler, run);
    *ret = NULL;
    if (!layer)
        return 0;

    _cleanup_(verdict_done) struct verdict verdict = {.decision = DECISION_LOADED};
    uint64_t n_pages = scheduler_footprint(scheduler, layer, NULL);
    uint64_t free_pages = arena_free_pages(scheduler->arena);
    if (free_pages + scheduler->can_give_way.pages < n_pages)
        return 0;
    if (free_pages < n_pages) {
        struct policy_view view =
            scheduler_view(scheduler, n_pages - free_pages, SCHEDULER_PORTION);
        verdict.decision = DECISION_MUST_UNLOAD;
        int r = policy_choose_for_reading_ahead(&view, layer, &verdict.victims);
        if (r < 0)
            return r == -ENOSPC ? 0 : r;
        if (verdict.victims.pages < view.needed_pages) {
            scheduler_evict(scheduler, layer, &verdict.victims);
            return 0; /* the next call finds more room */
        }
    }
    int r = reserve_ahead(scheduler, layer, n_pages, &verdict);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < RUN_DEPTH_MAX; i++)
        if (run->ahead[i] == layer)
            run->ahead[i] = NULL; /* it was read ahead before, too */
    *slot = layer;
    *ret = layer;
    return 0;
}
