/* Plan: the real scheduler's code on a clone of the real scheduler's state. */
#include "daemon/methods/methods.h"
#include "daemon/scheduler/planner.h"

#include <errno.h>
#include <string.h>

enum {
    PASSES_MAX = REPLY_ELEMENTS_MAX,
    PLANNED_LAYERS_MAX = 200000 /* in all passes, so that the loop does not wait */
};

/* What a call asks for, beside the model. */
struct plan_request {
    const struct policy *policy; /* NULL: each, in a reply of its own */
    enum on_full on_full;
    uint64_t n_passes;
    struct rehearsal_rates rates;
};

/* A Plan whose definition is still being read. */
struct planning {
    struct manager *manager;
    struct call *call;
    struct model_reader *reader;
    struct plan_request request;
};

struct step {
    const char *layer, *decision;
    bool hit;
    uint64_t bytes, n_victims, victim_bytes;
};

static const struct field step_fields[] = {
    {"layer", FIELD_STRING, offsetof(struct step, layer)},
    {"decision", FIELD_STRING, offsetof(struct step, decision)},
    {"hit", FIELD_BOOL, offsetof(struct step, hit)},
    {"bytes", FIELD_U64, offsetof(struct step, bytes)},
    {"victims", FIELD_U64, offsetof(struct step, n_victims)},
    {"victimBytes", FIELD_U64, offsetof(struct step, victim_bytes)},
    {0},
};

struct pass_row {
    struct pass pass;
    uint64_t usec; /* UINT64_MAX: unknown */
};

static const struct field pass_fields[] = {
    {"hits", FIELD_U64, offsetof(struct pass_row, pass.hits)},
    {"loaded", FIELD_U64, offsetof(struct pass_row, pass.loaded)},
    {"bytesLoaded", FIELD_U64, offsetof(struct pass_row, pass.loaded_bytes)},
    {"evictions", FIELD_U64, offsetof(struct pass_row, pass.evictions)},
    {"flushes", FIELD_U64, offsetof(struct pass_row, pass.flushes)},
    {"usec", FIELD_U64, offsetof(struct pass_row, usec), FIELD_NULLABLE},
    {0},
};

struct plan_reply {
    const char *model, *policy;
    uint64_t capacity_bytes;
    json_t *steps, *passes;
    uint64_t n_steps, n_resident;
    struct scheduler_stats stats;
    struct rehearsal_rates rates; /* UINT64_MAX: unknown, or not asked for */
};

static const struct field plan_fields[] = {
    {"model", FIELD_STRING, offsetof(struct plan_reply, model)},
    {"policy", FIELD_STRING, offsetof(struct plan_reply, policy)},
    {"capacityBytes", FIELD_U64, offsetof(struct plan_reply, capacity_bytes)},
    {"steps", FIELD_JSON, offsetof(struct plan_reply, steps)},
    {"stepsTotal", FIELD_U64, offsetof(struct plan_reply, n_steps)},
    {"hits", FIELD_U64, offsetof(struct plan_reply, stats.hits)},
    {"loaded", FIELD_U64, offsetof(struct plan_reply, stats.decisions[DECISION_LOADED])},
    {"mustUnload", FIELD_U64, offsetof(struct plan_reply, stats.decisions[DECISION_MUST_UNLOAD])},
    {"outOfMemory", FIELD_U64,
     offsetof(struct plan_reply, stats.decisions[DECISION_OUT_OF_MEMORY])},
    {"busy", FIELD_U64, offsetof(struct plan_reply, stats.decisions[DECISION_BUSY])},
    {"evictions", FIELD_U64, offsetof(struct plan_reply, stats.evictions)},
    {"flushes", FIELD_U64, offsetof(struct plan_reply, stats.flushes)},
    {"resident", FIELD_U64, offsetof(struct plan_reply, n_resident)},
    {"passes", FIELD_JSON, offsetof(struct plan_reply, passes)},
    {"diskBytesPerSecond", FIELD_U64, offsetof(struct plan_reply, rates.disk_bytes_per_sec),
     FIELD_NULLABLE},
    {"computeUsec", FIELD_U64, offsetof(struct plan_reply, rates.compute_usec), FIELD_NULLABLE},
    {0},
};

static int append_step(struct plan_reply *reply, const struct step *step)
{
    reply->n_steps++;
    return json_array_size(reply->steps) == REPLY_ELEMENTS_MAX
               ? 0
               : json_array_append_new(reply->steps, fields_encode(step_fields, step));
}

/* Asks for one layer after the other, as a load would, each load being complete at once. A refusal
 * ends it, as it would end the load. Returns whether all were loaded. */
static int plan_load(struct scheduler *scheduler, struct model *model, enum on_full on_full,
                     struct plan_reply *reply)
{
    uint64_t page_bytes = arena_page_bytes(scheduler_arena(scheduler));
    int all = false;

    for (uint32_t i = 0; i < model->definition->n_layers; i++) {
        struct layer *layer = &model->layers[i];
        _cleanup_(verdict_done) struct verdict verdict = {0};
        int r = scheduler_request(scheduler, layer, on_full, i, &verdict);
        if (r < 0)
            return r;
        struct step step = {
            .layer = layer_definition(layer)->name,
            .decision = decision_name(verdict.decision),
            .hit = verdict.outcome == OUTCOME_HIT,
            .bytes = layer_definition(layer)->bytes,
            .n_victims = verdict.victims.n_layers,
            .victim_bytes = verdict.victims.pages * page_bytes,
        };
        if (append_step(reply, &step) < 0)
            return -ENOMEM;
        if (verdict.outcome == OUTCOME_REFUSED)
            break;
        all = i + 1 == model->definition->n_layers;
        if (verdict.outcome != OUTCOME_HIT)
            scheduler_complete(scheduler, layer, i);
    }
    scheduler_get_stats(scheduler, &reply->stats);
    reply->n_resident = scheduler_model_resident(scheduler, model, NULL);
    return all;
}

/* A run of its own, as if there were no other. */
static int plan_passes(struct scheduler *scheduler, struct model *model,
                       const struct plan_request *request, struct plan_reply *reply)
{
    struct rehearsal rehearsal;
    scheduler_end_runs(scheduler);
    struct rehearsal_rates rates = request->rates;
    if (rates.compute_usec == 0)
        rates.compute_usec = model->compute_usec;
    else
        model->planned_pages = 0; /* planned anew for what is supposed */
    reply->rates = rates;
    int r = planner_choose(scheduler, model, &rates);
    if (r == 0)
        r = rehearsal_begin(scheduler, model, &rates, &rehearsal);
    if (r < 0)
        return r;
    for (uint64_t i = 0; r == 0 && i < request->n_passes; i++) {
        struct pass_row row = {.usec = UINT64_MAX};
        r = rehearsal_pass(&rehearsal, &row.pass);
        if (rates.disk_bytes_per_sec > 0)
            row.usec = (uint64_t)(row.pass.usec + 0.5);
        if (r == 0 && json_array_append_new(reply->passes, fields_encode(pass_fields, &row)) < 0)
            r = -ENOMEM;
    }
    rehearsal_end(&rehearsal);
    return r == -EBUSY ? 0 : r; /* held layers leave no place: the passes end there */
}

/* A model that would be refused whole: every layer that is too large is a step. */
static int list_too_large(const struct scheduler *scheduler, const struct definition *definition,
                          struct plan_reply *reply)
{
    const struct arena *arena = scheduler_arena(scheduler);

    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t n_pages;
        if (arena_footprint(arena, layer->bytes, layer->shift_bytes, &n_pages) == 0 &&
            n_pages <= arena_capacity_pages(arena))
            continue;
        struct step step = {.layer = layer->name,
                            .decision = decision_name(DECISION_OUT_OF_MEMORY),
                            .bytes = layer->bytes};
        if (append_step(reply, &step) < 0)
            return -ENOMEM;
        reply->stats.decisions[DECISION_OUT_OF_MEMORY]++;
    }
    return 0;
}

/* On a clone: of the registered model `name`, or, when that is NULL, of `definition`, in the place
 * of a registered model of that name. */
static int plan(struct manager *manager, struct scheduler *clone, const char *name,
                struct definition *definition, const struct plan_request *request, bool is_last,
                struct call *call, bool *ret_answered)
{
    const struct arena *arena = scheduler_arena(clone);
    struct model *model = scheduler_find_model(clone, name ? name : definition->name);
    struct plan_reply reply = {
        .model = name ? name : definition->name,
        .policy = scheduler_policy(clone)->name,
        .capacity_bytes = arena_capacity_pages(arena) * arena_page_bytes(arena),
        .rates = {UINT64_MAX, UINT64_MAX},
    };
    struct model_refusal refusal = {0};
    int r = 0;

    if (!name && model && scheduler_remove_model(clone, model) < 0) {
        reply_busy(manager, call);
        *ret_answered = true;
        return 0;
    }
    if (!name)
        r = scheduler_add_model(clone, definition, &model, &refusal);
    if (r == -EPERM && refusal.error != ERROR_OUT_OF_MEMORY) {
        reply_model_refusal(call, &refusal);
        *ret_answered = true;
        return 0;
    }
    reply.steps = json_array();
    reply.passes = json_array();
    if (!reply.steps || !reply.passes)
        r = -ENOMEM;
    if (r == -EPERM)
        r = list_too_large(clone, definition, &reply);
    else if (r == 0)
        r = plan_load(clone, model, request->on_full, &reply);
    if (r > 0)
        r = request->n_passes > 0 ? plan_passes(clone, model, request, &reply) : 0;
    if (reply.rates.disk_bytes_per_sec == 0)
        reply.rates.disk_bytes_per_sec = UINT64_MAX;
    if (reply.rates.compute_usec == 0)
        reply.rates.compute_usec = UINT64_MAX;
    if (r == 0 && is_last)
        call_reply_fields(call, plan_fields, &reply);
    else if (r == 0)
        call_continue_fields(call, plan_fields, &reply);
    json_decref(reply.steps);
    json_decref(reply.passes);
    return r;
}

/* For one policy. False when the call has been answered. */
static bool reply_plan(struct manager *manager, struct call *call, const char *name,
                       struct definition *definition, const struct plan_request *request,
                       const struct policy *policy, bool is_last)
{
    _cleanup_(scheduler_freep) struct scheduler *clone = NULL;
    bool answered = is_last;

    int r = scheduler_clone(manager->scheduler, &clone);
    if (r == 0) {
        scheduler_set_policy(clone, policy);
        r = plan(manager, clone, name, definition, request, is_last, call, &answered);
    }
    if (r < 0)
        call_io_failed(call, "plan", r);
    return r == 0 && !answered;
}

static void reply_plans(struct manager *manager, struct call *call, const char *name,
                        struct definition *definition, const struct plan_request *request)
{
    uint64_t n_layers = definition
                            ? definition->n_layers
                            : scheduler_find_model(manager->scheduler, name)->definition->n_layers;
    if (request->n_passes > PLANNED_LAYERS_MAX / n_layers) {
        reply_limit(call, "layers in all passes", PLANNED_LAYERS_MAX);
        return;
    }
    if (request->policy)
        reply_plan(manager, call, name, definition, request, request->policy, true);
    else
        for (const struct policy *const *policy = policies; *policy; policy++)
            if (!reply_plan(manager, call, name, definition, request, *policy, !policy[1]))
                return;
}

static void cancelled(void *context)
{
    struct planning *planning = context;
    model_reader_cancel(planning->reader);
    free(planning);
}

static void imported(int error, struct model_read_result *result, void *context)
{
    _cleanup_(freep) struct planning *planning = context;

    if (error < 0)
        reply_read_failure(planning->call, error, result);
    else
        reply_plans(planning->manager, planning->call, NULL, result->definition,
                    &planning->request);
}

struct plan_parameters {
    const char *model;
    struct source_parameters source;
    const char *policy, *on_full;
    uint64_t n_passes;
    struct rehearsal_rates rates;
};

static const struct field parameter_fields[] = {
    {"model", FIELD_STRING, offsetof(struct plan_parameters, model)},
    SOURCE_FIELDS(struct plan_parameters, source),
    {"policy", FIELD_STRING, offsetof(struct plan_parameters, policy)},
    {"onFull", FIELD_STRING, offsetof(struct plan_parameters, on_full)},
    {"passes", FIELD_U64, offsetof(struct plan_parameters, n_passes)},
    {"diskBytesPerSecond", FIELD_U64, offsetof(struct plan_parameters, rates.disk_bytes_per_sec)},
    {"computeUsec", FIELD_U64, offsetof(struct plan_parameters, rates.compute_usec)},
    {0},
};

/* False when the call has been answered with an error. */
static bool read_request(struct manager *manager, struct call *call,
                         const struct plan_parameters *parameters, struct plan_request *ret)
{
    struct plan_request request = {.n_passes = parameters->n_passes, .rates = parameters->rates};
    if (request.rates.disk_bytes_per_sec == 0)
        request.rates.disk_bytes_per_sec = load_requests_bytes_per_sec(manager->loads);
    bool all = parameters->policy && strcmp(parameters->policy, "all") == 0;

    if ((!all && !manager_policy(manager, call, parameters->policy, &request.policy)) ||
        !manager_on_full(manager, call, parameters->on_full, &request.on_full))
        return false;
    if (all && !call_more(call)) {
        call_error(call, ERROR_EXPECTED_MORE, NULL);
        return false;
    }
    if (request.n_passes > PASSES_MAX) {
        reply_limit(call, "passes", PASSES_MAX);
        return false;
    }
    *ret = request;
    return true;
}

void method_plan(struct call *call, void *context)
{
    static const struct call_hooks hooks = {.cancelled = cancelled};
    struct manager *manager = context;
    struct plan_parameters parameters = {.source.fd_index = UINT64_MAX};
    struct plan_request request;
    struct model_source source;

    if (!call_decode(call, parameter_fields, &parameters) ||
        !read_request(manager, call, &parameters, &request))
        return;
    if (parameters.model) {
        if (parameters.source.text || parameters.source.path || call_n_fds(call) > 0)
            call_invalid_parameter(call, "model");
        else if (manager_find_model(manager, call, parameters.model))
            reply_plans(manager, call, parameters.model, NULL, &request);
        return;
    }
    if (!manager_model_source(manager, call, &parameters.source, &source))
        return;

    struct planning *planning = calloc(1, sizeof(*planning));
    int r = planning ? 0 : -ENOMEM;
    if (planning) {
        *planning = (struct planning){manager, call, NULL, request};
        r = model_reader_start(manager->workers, &source, imported, planning, &planning->reader);
    }
    if (r < 0) {
        model_source_done(&source);
        free(planning);
        call_io_failed(call, "read", r);
        return;
    }
    call_set_hooks(call, &hooks, planning);
}
