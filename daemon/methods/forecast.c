/* Owns a forecast while it is made: first the load of the whole model, then the passes of a run. */
#include "daemon/methods/forecast.h"

#include <errno.h>
#include <stdlib.h>

void forecast_done(struct forecast *forecast)
{
    free(forecast->steps);
    free(forecast->passes);
    *forecast = (struct forecast){0};
}

static int go_on(const struct forecast_request *request)
{
    return request->go_on ? request->go_on(request->context) : 0;
}

static void add_step(struct forecast *forecast, const struct forecast_step *step)
{
    forecast->n_steps++;
    if (forecast->n_kept < FORECAST_STEPS_MAX)
        forecast->steps[forecast->n_kept++] = *step;
}

/* Requests one layer after the other, as a load would; each load is complete at once. A refusal
 * ends the forecast, as it would end the load. Returns 1 if all layers were loaded, 0 if not. */
static int foresee_load(struct scheduler *scheduler, struct model *model,
                        const struct forecast_request *request, struct forecast *forecast)
{
    uint64_t page_bytes = arena_page_bytes(scheduler_arena(scheduler));
    int all = false;

    for (uint32_t i = 0; i < model->definition->n_layers; i++) {
        struct layer *layer = &model->layers[i];
        _cleanup_(verdict_done) struct verdict verdict = {0};
        int r = go_on(request);
        if (r == 0)
            r = scheduler_request_whole(scheduler, layer, request->on_full, i, &verdict);
        if (r < 0)
            return r;
        add_step(forecast, &(struct forecast_step){
                               .layer = layer_definition(layer)->name,
                               .decision = decision_name(verdict.decision),
                               .hit = verdict.outcome == OUTCOME_HIT,
                               .bytes = layer_definition(layer)->bytes,
                               .n_victims = verdict.victims.n_layers,
                               .victim_bytes = verdict.victims.pages * page_bytes,
                           });
        if (verdict.outcome == OUTCOME_REFUSED)
            break;
        all = i + 1 == model->definition->n_layers;
        if (verdict.outcome != OUTCOME_HIT)
            scheduler_complete(scheduler, layer, i);
    }
    scheduler_get_stats(scheduler, &forecast->stats);
    forecast->n_resident = scheduler_model_resident(scheduler, model, NULL);
    return all;
}

/* Forecasts the passes of one run, as if there were no other run. */
static int foresee_passes(struct scheduler *scheduler, struct model *model,
                          const struct forecast_request *request, struct forecast *forecast)
{
    struct rehearsal rehearsal;
    struct rehearsal_rates rates = request->rates;

    scheduler_end_runs(scheduler);
    if (rates.compute_usec == 0)
        rates.compute_usec = model->compute_usec;
    else
        model->planned_pages = 0; /* makes the planner choose again, for the given time */
    if (rates.disk_bytes_per_sec > 0)
        forecast->rates.disk_bytes_per_sec = rates.disk_bytes_per_sec;
    if (rates.compute_usec > 0)
        forecast->rates.compute_usec = rates.compute_usec;
    int r = planner_choose(scheduler, model, &rates);
    if (r == 0)
        r = rehearsal_begin(scheduler, model, &rates, &rehearsal);
    if (r < 0)
        return r;
    rehearsal.go_on = request->go_on;
    rehearsal.context = request->context;
    for (uint64_t i = 0; r == 0 && i < request->n_passes; i++) {
        struct forecast_pass *row = &forecast->passes[i];
        row->usec = UINT64_MAX;
        r = rehearsal_pass(&rehearsal, &row->pass);
        if (rates.disk_bytes_per_sec > 0)
            row->usec = (uint64_t)(row->pass.usec + 0.5);
        if (r == 0)
            forecast->n_passes++;
    }
    rehearsal_end(&rehearsal);
    return r == -EBUSY ? 0 : r; /* leased layers leave no room, and the passes end there */
}

/* For a model that would be refused as a whole: adds a step for every layer that is too large. */
static void list_too_large(const struct scheduler *scheduler, const struct definition *definition,
                           struct forecast *forecast)
{
    const struct arena *arena = scheduler_arena(scheduler);

    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t n_pages;
        if (arena_footprint(arena, layer->bytes, layer->shift_bytes, &n_pages) == 0 &&
            n_pages <= arena_capacity_pages(arena))
            continue;
        add_step(forecast,
                 &(struct forecast_step){.layer = layer->name,
                                         .decision = decision_name(DECISION_OUT_OF_MEMORY),
                                         .bytes = layer->bytes});
        forecast->stats.decisions[DECISION_OUT_OF_MEMORY]++;
    }
}

static int foresee(struct scheduler *scheduler, const char *name, struct definition *definition,
                   const struct forecast_request *request, struct forecast *forecast)
{
    struct model *model = scheduler_find_model(scheduler, name ? name : definition->name);
    int r = 0;

    if (!name && model && scheduler_remove_model(scheduler, model) < 0) {
        forecast->end = FORECAST_BUSY;
        return 0;
    }
    if (!name)
        r = scheduler_add_model(scheduler, definition, &model, &forecast->refusal);
    else
        forecast->model = model->definition->name;
    if (r == -EPERM && forecast->refusal.error != ERROR_OUT_OF_MEMORY) {
        forecast->end = FORECAST_REFUSED;
        return 0;
    }
    if (r == -EPERM) {
        list_too_large(scheduler, definition, forecast);
        return 0;
    }
    if (r == 0)
        r = foresee_load(scheduler, model, request, forecast);
    if (r > 0)
        r = request->n_passes > 0 ? foresee_passes(scheduler, model, request, forecast) : 0;
    return r;
}

int forecast_make(const struct scheduler_snapshot *snapshot, const char *name,
                  struct definition *definition, const struct forecast_request *request,
                  struct forecast *ret)
{
    _cleanup_(scheduler_freep) struct scheduler *scheduler = NULL;
    int r = scheduler_from_snapshot(snapshot, &scheduler);
    if (r < 0)
        return r;
    scheduler_set_policy(scheduler, request->policy);
    const struct arena *arena = scheduler_arena(scheduler);
    _cleanup_(forecast_done) struct forecast forecast = {
        .model = name ? name : definition->name,
        .policy = request->policy->name,
        .capacity_bytes = arena_capacity_pages(arena) * arena_page_bytes(arena),
        .steps = calloc(FORECAST_STEPS_MAX, sizeof *forecast.steps),
        .passes = calloc(request->n_passes + 1, sizeof *forecast.passes),
        .rates = {UINT64_MAX, UINT64_MAX},
    };
    r = forecast.steps && forecast.passes ? foresee(scheduler, name, definition, request, &forecast)
                                          : -ENOMEM;
    if (r < 0)
        return r;
    *ret = forecast;
    forecast = (struct forecast){0};
    return 0;
}
