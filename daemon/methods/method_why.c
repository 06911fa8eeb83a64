/* Why: what the daemon decided about a model or a layer, from its history. */
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"
#include "daemon/methods/requester_row.h"

#include "common/clock.h"

enum { REASONS_MAX = 100 };

struct why_parameters {
    const char *model, *layer;
};

static const struct field parameter_fields[] = {
    {"model", FIELD_STRING, offsetof(struct why_parameters, model), FIELD_REQUIRED},
    {"layer", FIELD_STRING, offsetof(struct why_parameters, layer)},
    {0},
};

struct reason_row {
    const char *what, *layer, *to, *policy, *decision;
    uint64_t at_usec, bytes, n_layers; /* UINT64_MAX: absent */
    struct requester_row requester;
};

static const struct field reason_fields[] = {
    {"what", FIELD_STRING, offsetof(struct reason_row, what)},
    {"atUsec", FIELD_U64, offsetof(struct reason_row, at_usec)},
    {"layer", FIELD_STRING, offsetof(struct reason_row, layer), FIELD_NULLABLE},
    {"layers", FIELD_U64, offsetof(struct reason_row, n_layers), FIELD_NULLABLE},
    {"bytes", FIELD_U64, offsetof(struct reason_row, bytes), FIELD_NULLABLE},
    {"to", FIELD_STRING, offsetof(struct reason_row, to), FIELD_NULLABLE},
    {"policy", FIELD_STRING, offsetof(struct reason_row, policy), FIELD_NULLABLE},
    {"decision", FIELD_STRING, offsetof(struct reason_row, decision), FIELD_NULLABLE},
    REQUESTER_FIELDS(struct reason_row, requester),
    {0},
};

struct why_reply {
    const char *model, *layer, *state;
    bool is_registered, was_loaded;
    uint64_t n_layers, n_resident, since_usec;
    uint64_t used_usec; /* UINT64_MAX: absent */
    struct field_array reasons;
    uint64_t n_reasons;
};

static const struct field reply_fields[] = {
    {"model", FIELD_STRING, offsetof(struct why_reply, model)},
    {"layer", FIELD_STRING, offsetof(struct why_reply, layer), FIELD_NULLABLE},
    {"registered", FIELD_BOOL, offsetof(struct why_reply, is_registered)},
    {"layers", FIELD_U64, offsetof(struct why_reply, n_layers)},
    {"residentLayers", FIELD_U64, offsetof(struct why_reply, n_resident)},
    {"state", FIELD_STRING, offsetof(struct why_reply, state), FIELD_NULLABLE},
    {"wasLoaded", FIELD_BOOL, offsetof(struct why_reply, was_loaded)},
    {"usedAtUsec", FIELD_U64, offsetof(struct why_reply, used_usec), FIELD_NULLABLE},
    {"sinceAtUsec", FIELD_U64, offsetof(struct why_reply, since_usec)},
    {"reasons", FIELD_OBJECTS, offsetof(struct why_reply, reasons), 0, reason_fields},
    {"reasonsTotal", FIELD_U64, offsetof(struct why_reply, n_reasons)},
    {0},
};

static void describe(const struct model *model, const struct history_entry *entry,
                     struct reason_row *row)
{
    static const char *const names[] = {
        [HISTORY_ADDED] = "model-added", [HISTORY_REMOVED] = "model-removed",
        [HISTORY_EVICTED] = "evicted",   [HISTORY_FLUSHED] = "flushed",
        [HISTORY_HELD] = "held",         [HISTORY_ABANDONED] = "abandoned",
        [HISTORY_REFUSED] = "refused",
    };
    bool is_eviction = entry->kind == HISTORY_EVICTED || entry->kind == HISTORY_FLUSHED;
    bool is_refusal = entry->kind == HISTORY_REFUSED;

    requester_row_fill(&row->requester, &entry->requester);
    row->what = entry->trimmed ? "trimmed" : names[entry->kind];
    row->at_usec = clock_realtime_of(entry->boot_usec);
    row->n_layers = entry->kind == HISTORY_FLUSHED ? entry->n_layers : UINT64_MAX;
    row->bytes = entry->kind == HISTORY_REMOVED ? UINT64_MAX : entry->bytes;
    if (is_refusal)
        row->layer = entry->text;
    else if (model && entry->layer < model->definition->n_layers)
        row->layer = model->definition->layers[entry->layer].name;
    row->to = is_eviction && *entry->text ? entry->text : NULL;
    row->policy = entry->policy ? entry->policy->name : NULL;
    row->decision = is_refusal ? decision_name(entry->decision) : NULL;
}

static void describe_layer(const struct manager *manager, const struct layer *layer,
                           struct why_reply *reply)
{
    uint64_t now_usec = clock_monotonic_usec();

    reply->layer = layer_definition(layer)->name;
    reply->state = layer_state_name(scheduler_layer_state(manager->scheduler, layer));
    reply->was_loaded = layer->fill_id > 0;
    if (layer->used_usec > 0 && layer->used_usec <= now_usec)
        reply->used_usec = clock_realtime_before(now_usec - layer->used_usec);
}

void method_why(struct call *call, void *context)
{
    const struct manager *manager = context;
    const struct history_entry *entries[REASONS_MAX];
    struct reason_row rows[REASONS_MAX] = {0};
    struct why_parameters parameters = {0};
    struct layer *layer = NULL;

    if (!call_decode(call, parameter_fields, &parameters))
        return;
    struct model *model = scheduler_find_model(manager->scheduler, parameters.model);
    struct why_reply reply = {.model = parameters.model,
                              .is_registered = model != NULL,
                              .since_usec = clock_realtime_of(history_since_usec(manager->history)),
                              .used_usec = UINT64_MAX};
    if (model && parameters.layer && !(layer = manager_find_layer(call, model, parameters.layer)))
        return;
    if (model) {
        reply.n_layers = model->definition->n_layers;
        reply.n_resident = scheduler_model_resident(manager->scheduler, model, NULL);
    }
    if (layer)
        describe_layer(manager, layer, &reply);
    reply.n_reasons =
        layer ? history_of_layer(manager->history, layer, entries, REASONS_MAX)
              : history_of_model(manager->history, parameters.model, entries, REASONS_MAX);
    if (!model && reply.n_reasons == 0) {
        reply_not_found(call, "model", parameters.model);
        return;
    }
    size_t n_rows = reply.n_reasons < REASONS_MAX ? reply.n_reasons : REASONS_MAX;
    for (size_t i = 0; i < n_rows; i++)
        describe(model, entries[i], &rows[i]);
    reply.reasons = (struct field_array){rows, n_rows, sizeof *rows};
    call_reply_fields(call, reply_fields, &reply);
}
