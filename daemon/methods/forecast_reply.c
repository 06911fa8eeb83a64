/* Owns the fields of a Plan's replies. */
#include "daemon/methods/forecast_reply.h"

static const struct field step_fields[] = {
    {"layer", FIELD_STRING, offsetof(struct forecast_step, layer)},
    {"decision", FIELD_STRING, offsetof(struct forecast_step, decision)},
    {"hit", FIELD_BOOL, offsetof(struct forecast_step, hit)},
    {"bytes", FIELD_U64, offsetof(struct forecast_step, bytes)},
    {"victims", FIELD_U64, offsetof(struct forecast_step, n_victims)},
    {"victimBytes", FIELD_U64, offsetof(struct forecast_step, victim_bytes)},
    {0},
};

static const struct field pass_fields[] = {
    {"hits", FIELD_U64, offsetof(struct forecast_pass, pass.hits)},
    {"loaded", FIELD_U64, offsetof(struct forecast_pass, pass.loaded)},
    {"bytesLoaded", FIELD_U64, offsetof(struct forecast_pass, pass.loaded_bytes)},
    {"evictions", FIELD_U64, offsetof(struct forecast_pass, pass.evictions)},
    {"flushes", FIELD_U64, offsetof(struct forecast_pass, pass.flushes)},
    {"usec", FIELD_U64, offsetof(struct forecast_pass, usec), FIELD_NULLABLE},
    {0},
};

struct plan_reply {
    struct forecast forecast;
    uint64_t n_views;
    struct field_array steps, passes;
};

#define AT(member)         offsetof(struct plan_reply, member)
#define DECISION(decision) AT(forecast.stats.decisions[decision])

static const struct field plan_fields[] = {
    {"model", FIELD_STRING, AT(forecast.model)},
    {"policy", FIELD_STRING, AT(forecast.policy)},
    {"capacityBytes", FIELD_U64, AT(forecast.capacity_bytes)},
    {"steps", FIELD_OBJECTS, AT(steps), 0, step_fields},
    {"stepsTotal", FIELD_U64, AT(forecast.n_steps)},
    {"hits", FIELD_U64, AT(forecast.stats.hits)},
    {"loaded", FIELD_U64, DECISION(DECISION_LOADED)},
    {"mustUnload", FIELD_U64, DECISION(DECISION_MUST_UNLOAD)},
    {"outOfMemory", FIELD_U64, DECISION(DECISION_OUT_OF_MEMORY)},
    {"busy", FIELD_U64, DECISION(DECISION_BUSY)},
    {"evictions", FIELD_U64, AT(forecast.stats.evictions)},
    {"flushes", FIELD_U64, AT(forecast.stats.flushes)},
    {"resident", FIELD_U64, AT(forecast.n_resident)},
    {"views", FIELD_U64, AT(n_views)},
    {"passes", FIELD_OBJECTS, AT(passes), 0, pass_fields},
    {"diskBytesPerSecond", FIELD_U64, AT(forecast.rates.disk_bytes_per_sec), FIELD_NULLABLE},
    {"computeUsec", FIELD_U64, AT(forecast.rates.compute_usec), FIELD_NULLABLE},
    {0},
};

void forecast_reply(const struct manager *manager, struct call *call,
                    const struct forecast *forecast, bool is_last)
{
    const struct model *model = scheduler_find_model(manager->scheduler, forecast->model);
    struct plan_reply reply = {
        .forecast = *forecast,
        .n_views = model ? model->n_views : 0,
        .steps = {forecast->steps, forecast->n_kept, sizeof *forecast->steps},
        .passes = {forecast->passes, forecast->n_passes, sizeof *forecast->passes},
    };
    if (is_last)
        call_reply_fields(call, plan_fields, &reply);
    else
        call_continue_fields(call, plan_fields, &reply);
}
