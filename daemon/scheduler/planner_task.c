/* Owns the choice of a plan for a registered model: its share of the arena, when a new choice is
 * due, and whether the new plan replaces the present one. Leaves to planner.c which plans there
 * are.
 *
 * Invariant: between planner_begin and planner_end a task uses nothing that changes. */
#include "daemon/scheduler/planner.h"

#include "daemon/scheduler/run_simulation.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    START_BYTES = 512 << 10 /* lost at a layer's end, where the loaders wait for the next one */
};
static const double RATES_NEARLY = 2, CLEARLY = 0.95;

/* The model's share of the arena's pages. `model` and the models that runs go through share them in
 * proportion to their bytes. */
static uint64_t share_pages(const struct scheduler *scheduler, const struct model *model)
{
    uint64_t capacity_pages = arena_capacity_pages(scheduler_arena(scheduler));
    double bytes = (double)model->definition->bytes, total_bytes = bytes;
    for (const struct model *other = scheduler_first_model(scheduler); other; other = other->next)
        if (other != model && other->n_runs > 0)
            total_bytes += (double)other->definition->bytes;
    return total_bytes > bytes ? (uint64_t)((double)capacity_pages * bytes / total_bytes)
                               : capacity_pages;
}

struct planner_task {
    struct definition *definition;
    const struct arena *arena; /* borrowed; only for its page size, which never changes */
    uint64_t capacity_pages;
    double compute_per_page;
    struct kept_layers *present_kept; /* NULL: the model has no plan for the same share */
    uint64_t *pages;
    struct run_plan present, found;
    uint8_t present_schedule[MODEL_SCHEDULE_STEPS_MAX], found_schedule[MODEL_SCHEDULE_STEPS_MAX];
    struct kept_layers *found_kept;
    bool is_faster; /* faster than the present plan */
};

struct planner_task *planner_task_free(struct planner_task *task)
{
    if (!task)
        return NULL;
    definition_unref(task->definition);
    kept_layers_unref(task->present_kept);
    free(task->pages);
    kept_layers_unref(task->found_kept);
    free(task);
    return NULL;
}

static void copy_present(struct planner_task *task, const struct model *model)
{
    if (!model->kept)
        return;
    task->present_kept = kept_layers_ref(model->kept);
    memcpy(task->present_schedule, model->schedule, sizeof task->present_schedule);
    task->present =
        (struct run_plan){model->kept->keep, model->look_ahead, model->depth,
                          model->period > 0 ? task->present_schedule : NULL, model->period};
}

int planner_begin(const struct scheduler *scheduler, const struct model *model,
                  const struct rehearsal_rates *rates, struct planner_task **ret)
{
    struct definition *definition = model->definition;
    uint64_t capacity_pages = share_pages(scheduler, model);
    double compute_per_page = 1;
    bool same_share = model->planned_pages == capacity_pages;

    if (rates->disk_bytes_per_sec > 0 && rates->compute_usec > 0)
        compute_per_page = (double)rates->compute_usec / 1e6 * (double)rates->disk_bytes_per_sec /
                           (double)definition->bytes;
    if (same_share && (definition->n_layers > PLANNER_REHEARSED_LAYERS_MAX ||
                       (compute_per_page < model->planned_compute_per_page * RATES_NEARLY &&
                        compute_per_page > model->planned_compute_per_page / RATES_NEARLY))) {
        *ret = NULL;
        return 0;
    }
    struct planner_task *task = calloc(1, sizeof *task);
    if (!task)
        return -ENOMEM;
    task->definition = definition_ref(definition);
    task->arena = scheduler_arena(scheduler);
    task->capacity_pages = capacity_pages;
    task->compute_per_page = compute_per_page;
    if (same_share)
        copy_present(task, model);
    *ret = task;
    return 0;
}

/* Whether the new plan is clearly faster than the model's present one. */
static int is_clearly_faster(const struct planner_task *task, double start_pages, bool *ret)
{
    struct run_simulation simulation;
    struct pass_mean mean, present_mean;
    int r = run_simulation_init(&simulation, task->definition->n_layers, task->pages,
                                task->capacity_pages, task->compute_per_page);
    if (r < 0)
        return r;
    simulation.start_pages = start_pages;
    *ret = !run_simulation_measure(&simulation, &task->present, PLANNER_PASSES, INFINITY,
                                   &present_mean) ||
           !run_simulation_measure(&simulation, &task->found, PLANNER_PASSES, INFINITY, &mean) ||
           mean.time < present_mean.time * CLEARLY;
    run_simulation_done(&simulation);
    return 0;
}

int planner_work(struct planner_task *task)
{
    const struct definition *definition = task->definition;
    double start_pages = (double)START_BYTES / (double)arena_page_bytes(task->arena);

    task->pages = reallocarray(NULL, definition->n_layers, sizeof *task->pages);
    task->found_kept = kept_layers_new(definition->n_layers);
    if (!task->pages || !task->found_kept)
        return -ENOMEM;
    for (uint32_t i = 0; i < definition->n_layers; i++)
        if (arena_footprint(task->arena, definition->layers[i].bytes,
                            definition->layers[i].shift_bytes, &task->pages[i]) < 0)
            return -ENOMEM;
    int r = planner_plan(definition->n_layers, task->pages, task->capacity_pages,
                         task->compute_per_page, start_pages, task->found_kept->keep,
                         task->found_schedule, &task->found);
    task->is_faster = true;
    if (r == 0 && task->present_kept)
        r = is_clearly_faster(task, start_pages, &task->is_faster);
    return r;
}

void planner_end(struct scheduler *scheduler, struct model *model, const struct planner_task *task)
{
    if (task->is_faster)
        scheduler_set_run_plan(scheduler, model, &task->found, task->found_kept);
    model->planned_pages = task->capacity_pages;
    model->planned_compute_per_page = task->compute_per_page;
}

int planner_choose(struct scheduler *scheduler, struct model *model,
                   const struct rehearsal_rates *rates)
{
    _cleanup_(planner_task_freep) struct planner_task *task = NULL;
    int r = planner_begin(scheduler, model, rates, &task);
    if (r == 0 && task)
        r = planner_work(task);
    if (r == 0 && task)
        planner_end(scheduler, model, task);
    return r;
}
