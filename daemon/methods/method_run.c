/* BeginRun, Next and EndRun. A connection's runs hang on the connection and end with it. */
#include "daemon/methods/acquisition.h"

#include "common/clock.h"
#include "daemon/scheduler/planner.h"

#include <errno.h>
#include <inttypes.h>

struct begin_parameters {
    const char *model;
    uint64_t at;
};

/* A run begins, or a pass: reading may have got faster, or another run may share the arena now.
 * Without memory for a better plan the runs go on as before. */
static void plan_runs(struct manager *manager, struct model *model)
{
    struct rehearsal_rates rates = {load_requests_bytes_per_sec(manager->loads),
                                    model->compute_usec};
    (void)planner_choose(manager->scheduler, model, &rates);
}

static const struct field begin_fields[] = {
    {"model", FIELD_STRING, offsetof(struct begin_parameters, model), FIELD_REQUIRED},
    {"at", FIELD_U64, offsetof(struct begin_parameters, at)},
    {0},
};

void method_begin_run(struct call *call, void *context)
{
    struct manager *manager = context;
    struct begin_parameters parameters = {0};
    struct model *model;
    struct client_run *run;

    if (!call_decode(call, begin_fields, &parameters) ||
        !(model = manager_find_model(manager, call, parameters.model)))
        return;
    if (parameters.at >= model->definition->n_layers) {
        call_invalid_parameter(call, "at");
        return;
    }
    struct holder *holder = acquisition_find_holder(manager, call);
    int r = holder ? client_run_begin(holder, model, &run) : -ENOMEM;
    if (r == -EMFILE) {
        reply_limit(call, "runs of a connection", RUNS_PER_CONNECTION_MAX);
    } else if (r == -EDQUOT) {
        reply_limit(call, "runs", SCHEDULER_RUNS_MAX);
    } else if (r < 0) {
        call_io_failed(call, "run", r);
    } else {
        char id[24];
        scheduler_run_start_at(manager->scheduler, run->run, (uint32_t)parameters.at);
        plan_runs(manager, model);
        snprintf(id, sizeof id, "%" PRIu64, run->id);
        call_reply(call, json_pack("{s:s, s:I}", "run", id, "layers",
                                   (json_int_t)model->definition->n_layers));
    }
}

/* NULL after an answer that there is none. */
static struct client_run *find_run(struct call *call, const char *id)
{
    const struct holder *holder = call_connection_data(call);
    struct client_run *run = holder ? client_run_find(holder, acquisition_parse_id(id)) : NULL;
    if (!run)
        reply_not_found(call, "run", id);
    return run;
}

struct next_parameters {
    const char *run;
    struct acquisition_options options;
};

static const struct field next_fields[] = {
    {"run", FIELD_STRING, offsetof(struct next_parameters, run), FIELD_REQUIRED},
    ACQUISITION_OPTION_FIELDS(struct next_parameters, options),
    {0},
};

void method_next(struct call *call, void *context)
{
    struct manager *manager = context;
    struct next_parameters parameters = {0};
    struct client_run *run;

    if (!call_decode(call, next_fields, &parameters) ||
        !acquisition_check_options(call, &parameters.options) ||
        !(run = find_run(call, parameters.run)))
        return;
    client_run_leave(run, clock_monotonic_usec());
    if (run->run->next->index == 0)
        plan_runs(manager, run->run->model);
    acquisition_begin(manager, call, run->holder, run->run->next, &parameters.options, run);
}

struct end_parameters {
    const char *run;
};

static const struct field end_fields[] = {
    {"run", FIELD_STRING, offsetof(struct end_parameters, run), FIELD_REQUIRED},
    {0},
};

void method_end_run(struct call *call, void *context)
{
    struct end_parameters parameters = {0};
    struct client_run *run;
    (void)context;

    if (!call_decode(call, end_fields, &parameters) || !(run = find_run(call, parameters.run)))
        return;
    client_run_end(run);
    call_reply(call, NULL);
}
