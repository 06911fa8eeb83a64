/* Plan: a worker makes forecasts one after the other, and each is sent in its own reply. */
#include "daemon/methods/error_replies.h"
#include "daemon/methods/forecast_reply.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"

#include "common/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <malloc.h>
#include <string.h>

enum {
    PLANNED_LAYERS_MAX = 200000,     /* in all passes */
    PLAN_USEC_MAX = 10 * 1000 * 1000 /* of all forecasts of a Plan */
};

/* A Plan from its call to its last reply, and until a worker has freed what it needed. It waits for
 * its turn, reads the definition if the call gave one, takes a snapshot in turns of the loop, and
 * then makes its forecasts. */
struct planning {
    struct job job;
    struct turn turn;
    struct manager *manager;
    struct call *call; /* NULL: cancelled, but the job has not ended yet */
    struct model_source source;
    struct model_reader *reader;   /* while a thread reads the definition */
    struct definition *definition; /* NULL: of the registered model `name` */
    char *name;
    bool is_running; /* a worker has the job */
    struct forecast_request request;
    const struct policy *const *others; /* the policies still to forecast, ended by NULL; or NULL */
    struct scheduler_snapshot *snapshot;
    struct event *go_on;    /* with the snapshot */
    struct memory_use *use; /* of all this memory */
    uint64_t dry_run_bytes;
    struct forecast forecast;
    uint64_t deadline_usec;
};

static void dispose(struct planning *planning)
{
    planning->definition = definition_unref(planning->definition);
    planning->snapshot = scheduler_snapshot_free(planning->snapshot);
    forecast_done(&planning->forecast);
    planning->forecast = (struct forecast){0};
}

/* Worker thread. Unused memory of the heap counts in the budget, too. */
static int dispose_step(struct job *job, uint64_t index)
{
    struct planning *planning = (struct planning *)job;
    (void)index;
    dispose(planning);
    malloc_trim(0);
    planning->use = memory_use_free(planning->use);
    return 0;
}

/* If the pool ends, the step may not have run. The user's next Plan may begin now. */
static void disposed(struct job *job, int error)
{
    struct planning *planning = (struct planning *)job;
    (void)error;
    dispose(planning);
    memory_use_free(planning->use);
    turn_end(&planning->turn);
    free(planning);
}

/* The loop would need milliseconds for a large definition and its snapshot. */
static void dispose_elsewhere(struct planning *planning)
{
    planning->job = (struct job){.n_steps = 1, .step = dispose_step, .done = disposed};
    workers_submit(planning->manager->planners, &planning->job);
}

static void read_ended(void *context)
{
    struct planning *planning = context;
    planning->reader = NULL;
    dispose_elsewhere(planning);
}

static struct planning *planning_free(struct planning *planning)
{
    if (!planning)
        return NULL;
    model_source_done(&planning->source);
    free(TAKE_PTR(planning->name));
    if (planning->snapshot)
        scheduler_stop_snapshot(planning->snapshot);
    if (planning->go_on)
        event_free(planning->go_on);
    turn_over(&planning->turn);
    if (planning->reader) {
        turn_stuck(&planning->turn);
        model_reader_cancel(planning->reader, read_ended);
    } else {
        dispose_elsewhere(planning);
    }
    return NULL;
}
DEFINE_CLEANUP(struct planning *, planning_free);

/* Worker thread. */
static int go_on(void *context)
{
    const struct planning *planning = context;
    if (job_cancelled(&planning->job))
        return -ECANCELED;
    return clock_monotonic_usec() < planning->deadline_usec ? 0 : -ETIME;
}

static int make_forecast(struct job *job, uint64_t index)
{
    struct planning *planning = (struct planning *)job;
    (void)index;
    return forecast_make(planning->snapshot, planning->name, planning->definition,
                         &planning->request, &planning->forecast);
}

static void forecast_ended(struct job *job, int error);

static void start_forecast(struct planning *planning)
{
    planning->job = (struct job){.n_steps = 1, .step = make_forecast, .done = forecast_ended};
    planning->is_running = true;
    workers_submit(planning->manager->planners, &planning->job);
}

/* Copies a portion, and comes again in the next turn of the loop until the snapshot is complete. */
static void on_go_on(evutil_socket_t fd, short what, void *context)
{
    struct planning *planning = context;
    int r;
    (void)fd;
    (void)what;
    do
        r = scheduler_go_on_with_snapshot(planning->snapshot, SCHEDULER_SNAPSHOT_PORTION);
    while (r > 0 && event_add(planning->go_on, &(struct timeval){0}) < 0);
    if (r > 0)
        return;
    if (r < 0) {
        call_io_failed(planning->call, "plan", r);
        planning_free(planning);
        return;
    }
    planning->deadline_usec = clock_monotonic_usec() + PLAN_USEC_MAX;
    start_forecast(planning);
}

static void forecast_ended(struct job *job, int error)
{
    _cleanup_(planning_freep) struct planning *planning = (struct planning *)job;
    planning->is_running = false;
    if (!planning->call)
        return;
    bool is_last = !planning->others || !*planning->others;
    if (error == -ETIME)
        reply_limit(planning->call, "microseconds of planning", PLAN_USEC_MAX);
    else if (error < 0)
        call_io_failed(planning->call, "plan", error);
    else if (planning->forecast.end == FORECAST_BUSY)
        reply_busy(planning->manager, planning->call);
    else if (planning->forecast.end == FORECAST_REFUSED)
        reply_model_refusal(planning->call, &planning->forecast.refusal);
    else
        forecast_reply(planning->manager, planning->call, &planning->forecast, is_last);
    if (error < 0 || planning->forecast.end != FORECAST_MADE || is_last)
        return;
    forecast_done(&planning->forecast);
    planning->request.policy = *planning->others++;
    start_forecast(TAKE_PTR(planning));
}

/* Worker thread: it may have to wait until others have given memory back. */
static int take_memory(struct job *job, uint64_t index)
{
    struct planning *planning = (struct planning *)job;
    (void)index;
    memory_budget_use(&planning->use->budget);
    bool may = memory_budget_take(planning->dry_run_bytes);
    memory_budget_use(NULL);
    return may ? 0 : -EDQUOT;
}

static void memory_taken(struct job *job, int error)
{
    _cleanup_(planning_freep) struct planning *planning = (struct planning *)job;
    struct manager *manager = planning->manager;
    planning->is_running = false;
    if (!planning->call)
        return;
    if (error == -EDQUOT) {
        reply_overhead(manager, planning->call);
        return;
    }
    int r = error < 0 ? error : scheduler_begin_snapshot(manager->scheduler, &planning->snapshot);
    if (r == 0 && !(planning->go_on = event_new(manager->base, -1, 0, on_go_on, planning)))
        r = -ENOMEM;
    if (r < 0)
        call_io_failed(planning->call, "plan", r);
    else
        on_go_on(-1, 0, TAKE_PTR(planning));
}

/* Takes ownership of the planning. */
static void start_forecasts(struct planning *planning)
{
    _cleanup_(planning_freep) struct planning *owned = planning;
    struct manager *manager = planning->manager;
    const struct definition *definition = planning->definition;

    if (!definition) {
        const struct model *model = manager_find_model(manager, planning->call, planning->name);
        if (!model)
            return;
        definition = model->definition;
    }
    if (planning->request.n_passes > PLANNED_LAYERS_MAX / definition->n_layers) {
        reply_limit(planning->call, "layers in all passes", PLANNED_LAYERS_MAX);
        return;
    }
    planning->dry_run_bytes = scheduler_dry_run_bytes(manager->scheduler, planning->definition);
    planning->job = (struct job){.n_steps = 1, .step = take_memory, .done = memory_taken};
    planning->is_running = true;
    workers_submit(manager->planners, &TAKE_PTR(owned)->job);
}

static void cancelled(void *context)
{
    struct planning *planning = context;
    planning->call = NULL;
    if (planning->is_running) {
        workers_cancel(planning->manager->planners, &planning->job);
        return;
    }
    planning_free(planning);
}

static void definition_read(int error, struct model_read_result *result, void *context)
{
    struct planning *planning = context;
    if (!result->is_abandoned)
        planning->reader = NULL;
    if (error < 0) {
        reply_read_failure(planning->manager, planning->call, error, result);
        planning_free(planning);
        return;
    }
    planning->definition = TAKE_PTR(result->definition);
    planning->use = TAKE_PTR(result->use);
    start_forecasts(planning);
}

static void turn_begun(struct turn *turn)
{
    struct planning *planning = (struct planning *)((char *)turn - offsetof(struct planning, turn));
    if (planning->name) {
        start_forecasts(planning);
        return;
    }
    int r =
        model_reader_start(planning->manager->readers, call_peer(planning->call)->uid,
                           &planning->source, NULL, definition_read, planning, &planning->reader);
    if (r < 0) {
        call_io_failed(planning->call, "read", r);
        planning_free(planning);
    }
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

/* Returns false after an error reply. */
static bool read_request(struct manager *manager, struct call *call,
                         const struct plan_parameters *parameters, struct planning *planning)
{
    struct forecast_request *request = &planning->request;
    bool all = parameters->policy && strcmp(parameters->policy, "all") == 0;

    *request = (struct forecast_request){.n_passes = parameters->n_passes,
                                         .rates = parameters->rates,
                                         .go_on = go_on,
                                         .context = planning};
    if (request->rates.disk_bytes_per_sec == 0)
        request->rates.disk_bytes_per_sec = load_requests_bytes_per_sec(manager->loads);
    if ((!all && !manager_policy(manager, call, parameters->policy, &request->policy)) ||
        !manager_on_full(manager, call, parameters->on_full, &request->on_full))
        return false;
    if (all && !call_more(call)) {
        call_error(call, ERROR_EXPECTED_MORE, NULL);
        return false;
    }
    if (all) {
        request->policy = policies[0];
        planning->others = policies + 1;
    }
    if (request->n_passes > FORECAST_PASSES_MAX) {
        reply_limit(call, "passes", FORECAST_PASSES_MAX);
        return false;
    }
    return true;
}

/* Returns false after an error reply. */
static bool read_model(struct manager *manager, struct call *call,
                       const struct plan_parameters *parameters, struct planning *planning)
{
    if (!parameters->model)
        return manager_model_source(manager, call, &parameters->source, &planning->source);
    if (parameters->source.text || parameters->source.path || call_n_fds(call) > 0) {
        call_invalid_parameter(call, "model");
        return false;
    }
    if (!manager_find_model(manager, call, parameters->model))
        return false;
    planning->name = strdup(parameters->model);
    planning->use = memory_use_new(&manager->memory_gate, call_peer(call)->tier == TIER_ADMIN);
    if (!planning->name || !planning->use)
        call_io_failed(call, "plan", -ENOMEM);
    return planning->name && planning->use;
}

void method_plan(struct call *call, void *context)
{
    static const struct call_hooks hooks = {.cancelled = cancelled};
    struct manager *manager = context;
    struct plan_parameters parameters = {.source.fd_index = UINT64_MAX};

    if (!call_decode(call, parameter_fields, &parameters))
        return;
    _cleanup_(planning_freep) struct planning *planning = calloc(1, sizeof *planning);
    if (!planning) {
        call_io_failed(call, "plan", -ENOMEM);
        return;
    }
    planning->manager = manager;
    planning->call = call;
    planning->source = (struct model_source)MODEL_SOURCE_NONE;
    if (!read_request(manager, call, &parameters, planning) ||
        !read_model(manager, call, &parameters, planning))
        return;

    struct planning *started = TAKE_PTR(planning);
    call_set_hooks(call, &hooks, started);
    int r = turn_await(&manager->turns, &started->turn, call_peer(call), turn_begun);
    if (r == -EBUSY)
        reply_limit(call, "plans of a user whose files do not answer", TURNS_STUCK_MAX);
    else if (r < 0)
        reply_limit(call, "plans of a user", turns_per_user(call_peer(call)));
    if (r < 0)
        planning_free(started);
}
