/* BeginRun, Next and EndRun. Runs belong to a connection and end with it. */
#include "daemon/methods/acquisition.h"
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"

#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>

struct begin_parameters {
    const char *model;
    uint64_t at;
};

/* A BeginRun whose run has begun, and whose plan is being chosen. */
struct beginning {
    struct call *call;
    struct client_run *run;
    struct run_choice *choice;
};

static struct rehearsal_rates rates_of(const struct manager *manager, const struct model *model)
{
    return (struct rehearsal_rates){load_requests_bytes_per_sec(manager->loads),
                                    model->compute_usec};
}

static void reply_begun(struct call *call, const struct client_run *run)
{
    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, run->id);
    call_reply(call, json_pack("{s:s, s:I}", "run", id, "layers",
                               (json_int_t)run->run->model->definition->n_layers));
}

static void begin_cancelled(void *context)
{
    struct beginning *beginning = context;
    run_choice_forget(beginning->choice);
    free(beginning);
}

static void plan_chosen(void *context)
{
    _cleanup_(freep) struct beginning *beginning = context;
    reply_begun(beginning->call, beginning->run);
}

/* Chooses a plan and replies when the run has it. The plan is chosen anew, because the disk may
 * have become faster, or another run may share the arena now. If there is no memory for a better
 * plan, the runs continue with the present one. */
static void plan_and_reply(struct manager *manager, struct call *call, struct client_run *run)
{
    static const struct call_hooks hooks = {.cancelled = begin_cancelled};
    struct model *model = run->run->model;
    struct rehearsal_rates rates = rates_of(manager, model);
    struct beginning *beginning = malloc(sizeof *beginning);
    struct run_choice *choice = NULL;
    if (beginning)
        choice = run_choice_begin(&manager->choices, model, &rates, plan_chosen, beginning);
    if (!choice) {
        free(beginning);
        reply_begun(call, run);
        return;
    }
    *beginning = (struct beginning){call, run, choice};
    call_set_hooks(call, &hooks, beginning);
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
        reply_limit(call, "runs of a user", RUNS_PER_USER_MAX);
    } else if (r == -EUSERS) {
        reply_limit(call, "runs",
                    call_peer(call)->tier == TIER_ADMIN ? (uint64_t)SCHEDULER_RUNS_MAX
                                                        : RUNS_OF_MEMBERS_MAX);
    } else if (r < 0) {
        call_io_failed(call, "run", r);
    } else {
        scheduler_run_start_at(manager->scheduler, run->run, (uint32_t)parameters.at);
        plan_and_reply(manager, call, run);
    }
}

/* Returns NULL if there is no such run; it has then answered the call. */
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
    if (run->run->next->index == 0) {
        struct rehearsal_rates rates = rates_of(manager, run->run->model);
        run_choice_renew(&manager->choices, run->run->model, &rates);
    }
    acquisition_begin(manager, call, run->holder, &(struct layer_set){&run->run->next, 1, NULL},
                      &parameters.options, run);
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
