/* Usage: what each model is used for, only of the models that have changed.
 *
 * A program that shows all models again and again thus costs what has changed, not what there is.
 */
#include "daemon/methods/manager.h"
#include "daemon/methods/methods.h"

#include "common/clock.h"

enum { MODELS_MAX = 100 }; /* in a reply, so that its cost is small beside a turn of the loop */

struct usage_row {
    const char *name;
    uint64_t n_layers, n_resident, bytes, resident_bytes, streamed_bytes;
    uint64_t used_at_usec; /* UINT64_MAX: absent */
    uint64_t n_runs;
    struct model_usage usage;
    struct model_stats stats;
};

#define AT(member) offsetof(struct usage_row, member)

static const struct field usage_fields[] = {
    {"name", FIELD_STRING, AT(name)},
    {"layers", FIELD_U64, AT(n_layers)},
    {"residentLayers", FIELD_U64, AT(n_resident)},
    {"bytes", FIELD_U64, AT(bytes)},
    {"residentBytes", FIELD_U64, AT(resident_bytes)},
    {"leasedBytes", FIELD_U64, AT(usage.pinned_bytes)},
    {"loadingBytes", FIELD_U64, AT(usage.loading_bytes)},
    {"streamedBytes", FIELD_U64, AT(streamed_bytes)},
    {"leases", FIELD_U64, AT(usage.n_pins)},
    {"runs", FIELD_U64, AT(n_runs)},
    {"hits", FIELD_U64, AT(stats.hits)},
    {"misses", FIELD_U64, AT(stats.misses)},
    {"bytesLoaded", FIELD_U64, AT(stats.loaded_bytes)},
    {"passes", FIELD_U64, AT(usage.n_passes)},
    {"usedAtUsec", FIELD_U64, AT(used_at_usec), FIELD_NULLABLE},
    {0},
};

struct usage_reply {
    struct field_array models;
    uint64_t total, change;
    bool more;
};

static const struct field reply_fields[] = {
    {"models", FIELD_OBJECTS, offsetof(struct usage_reply, models), 0, usage_fields},
    {"total", FIELD_U64, offsetof(struct usage_reply, total)},
    {"change", FIELD_U64, offsetof(struct usage_reply, change)},
    {"more", FIELD_BOOL, offsetof(struct usage_reply, more)},
    {0},
};

static void describe_usage(const struct scheduler *scheduler, const struct model *model,
                           struct usage_row *row)
{
    uint64_t age_usec = clock_monotonic_usec() - model->usage.used_usec;

    *row = (struct usage_row){
        .name = model->definition->name,
        .n_layers = model->definition->n_layers,
        .bytes = model->definition->bytes,
        .streamed_bytes = scheduler_model_streamed(scheduler, model),
        .used_at_usec = model->usage.used_usec > 0 ? clock_realtime_before(age_usec) : UINT64_MAX,
        .n_runs = model->n_runs,
        .usage = model->usage,
        .stats = scheduler_model_stats(scheduler, model),
    };
    row->n_resident = scheduler_model_resident(scheduler, model, &row->resident_bytes);
}

struct usage_parameters {
    uint64_t since;
};

static const struct field parameter_fields[] = {
    {"since", FIELD_U64, offsetof(struct usage_parameters, since)},
    {0},
};

void method_usage(struct call *call, void *context)
{
    const struct manager *manager = context;
    struct usage_parameters parameters = {0};
    struct usage_row rows[MODELS_MAX];
    struct scheduler_stats stats;
    size_t n = 0;

    if (!call_decode(call, parameter_fields, &parameters))
        return;
    scheduler_get_stats(manager->scheduler, &stats);
    struct usage_reply reply = {.total = stats.n_models, .change = parameters.since};
    const struct model *model = scheduler_next_changed(manager->scheduler, parameters.since);
    for (; model && n < MODELS_MAX; model = TAILQ_NEXT(model, by_change)) {
        describe_usage(manager->scheduler, model, &rows[n++]);
        reply.change = model->changed;
    }
    reply.more = model;
    reply.models = (struct field_array){rows, n, sizeof *rows};
    call_reply_fields(call, reply_fields, &reply);
}
