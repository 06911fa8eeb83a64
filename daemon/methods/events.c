/* Events: one line in the log, and one object to the watchers. */
#include "daemon/methods/events.h"

#include "common/clock.h"
#include "common/units.h"
#include "daemon/methods/requester_row.h"
#include "daemon/methods/watchers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* Longer texts are truncated. SUCCESSOR: a model's name, "/" and a layer's name. */
enum {
    SUCCESSOR_TEXT_MAX = 300,
    REASON_TEXT_MAX = SUCCESSOR_TEXT_MAX + 150,
    MESSAGE_TEXT_MAX = 1100
};

struct events {
    struct watchers *watchers;
    bool misaligned, swapped; /* as last reported */
};

/* One event that is being reported. */
struct event_record {
    const char *name;
    const char *model, *layer;
    uint64_t bytes; /* UINT64_MAX: none */
    const char *from, *to;
    const char *policy;
    struct requester requester; /* its method is NULL: none */
    /* Filled in by emit. */
    uint64_t at_usec;
    const char *message;
    struct requester_row requester_row;
};

static const struct field event_fields[] = {
    {"event", FIELD_STRING, offsetof(struct event_record, name)},
    {"atUsec", FIELD_U64, offsetof(struct event_record, at_usec)},
    {"model", FIELD_STRING, offsetof(struct event_record, model), FIELD_NULLABLE},
    {"layer", FIELD_STRING, offsetof(struct event_record, layer), FIELD_NULLABLE},
    {"bytes", FIELD_U64, offsetof(struct event_record, bytes), FIELD_NULLABLE},
    {"from", FIELD_STRING, offsetof(struct event_record, from), FIELD_NULLABLE},
    {"to", FIELD_STRING, offsetof(struct event_record, to), FIELD_NULLABLE},
    REQUESTER_FIELDS(struct event_record, requester_row),
    {"policy", FIELD_STRING, offsetof(struct event_record, policy), FIELD_NULLABLE},
    {"message", FIELD_STRING, offsetof(struct event_record, message), FIELD_NULLABLE},
    {0},
};

struct events *events_new(struct event_base *base)
{
    struct events *events = calloc(1, sizeof *events);
    if (events && !(events->watchers = watchers_new(base))) {
        free(events);
        return NULL;
    }
    return events;
}

struct events *events_free(struct events *events)
{
    if (events)
        watchers_free(events->watchers);
    free(events);
    return NULL;
}

void events_watch(struct events *events, struct call *call)
{
    watchers_add(events->watchers, call);
}

static void tell_watchers(struct events *events, const struct event_record *record)
{
    if (watchers_exist(events->watchers))
        watchers_tell(events->watchers, fields_encode(event_fields, record));
}

static void write_to_log(enum log_level level, const struct event_record *record)
{
    const struct requester_row *requester = &record->requester_row;
    char pid[12];
    snprintf(pid, sizeof pid, "%" PRId32, record->requester.pid);
    const struct log_field all[] = {
        {"EDGEMIND_EVENT", record->name},
        {"EDGEMIND_MODEL", record->model},
        {"EDGEMIND_LAYER", record->layer},
        {"EDGEMIND_FROM", record->from},
        {"EDGEMIND_TO", record->to},
        {"EDGEMIND_POLICY", record->policy},
        {"EDGEMIND_USER", requester->user},
        {"EDGEMIND_PID", requester->user ? pid : NULL},
        {"EDGEMIND_METHOD", requester->method},
    };
    struct log_field fields[sizeof all / sizeof *all];
    size_t n_fields = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value)
            fields[n_fields++] = all[i];
    log_write(level, fields, n_fields, "%s", record->message);
}

/* Fills in time, requester and message. */
static __attribute__((format(printf, 4, 5))) void emit(struct events *events, enum log_level level,
                                                       struct event_record record,
                                                       const char *format, ...)
{
    char message[MESSAGE_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    requester_row_fill(&record.requester_row, &record.requester);
    record.at_usec = clock_realtime_usec();
    record.message = message;
    write_to_log(level, &record);
    tell_watchers(events, &record);
}

/* Returns "MODEL/LAYER" of the layer that needs the room, or NULL if there is no such layer. */
static const char *name_successor(const struct scheduler_event *event, char *buffer, size_t n_bytes)
{
    if (!event->successor)
        return NULL;
    snprintf(buffer, n_bytes, "%s/%s", event->successor->model->definition->name,
             layer_definition(event->successor)->name);
    return buffer;
}

/* Says why layers were evicted. `to` is the name of the layer that needs the room, or NULL. */
static const char *describe_reason(const struct scheduler_event *event, const char *to,
                                   char reason[static REASON_TEXT_MAX])
{
    const struct requester *requester = &event->requester;
    char who[80] = "";

    if (requester->method)
        snprintf(who, sizeof who, "%suser %" PRIu32 " (pid %" PRId32 ") %swith %s",
                 to ? ", which " : " of ", requester->uid, requester->pid, to ? "requested " : "",
                 requester->method);
    if (to)
        snprintf(reason, REASON_TEXT_MAX, "to make room for %s%s; policy %s", to, who,
                 event->policy->name);
    else
        snprintf(reason, REASON_TEXT_MAX, "on request%s", who);
    return reason;
}

/* Whether somebody wants to know of events of that type. Those that concern every request cost
 * nothing otherwise. */
static bool is_wanted(const struct events *events, enum scheduler_event_type type)
{
    switch (type) {
    case EVENT_LAYER_PINNED:
    case EVENT_LAYER_UNPINNED:
        return false;
    case EVENT_LAYER_LOADING:
    case EVENT_LAYER_LOADED:
    case EVENT_LAYER_EVICTED:
        return log_takes(LOG_LEVEL_DEBUG) || watchers_exist(events->watchers);
    default:
        return true;
    }
}

void events_on_scheduler(const struct scheduler_event *event, void *context)
{
    if (!is_wanted(context, event->type))
        return;
    const char *model = event->model ? event->model->definition->name : NULL;
    const char *layer = event->layer ? layer_definition(event->layer)->name : NULL;
    char size[SIZE_TEXT_MAX], successor[SUCCESSOR_TEXT_MAX], reason[REASON_TEXT_MAX];
    const char *to = name_successor(event, successor, sizeof successor);
    size_format(event->bytes, size);
    struct event_record record = {.model = model,
                                  .layer = layer,
                                  .bytes = event->bytes,
                                  .to = to,
                                  .policy = event->policy ? event->policy->name : NULL,
                                  .requester = event->requester};

    switch (event->type) {
    case EVENT_MODEL_ADDED:
        record.name = "model-added";
        emit(context, LOG_LEVEL_INFO, record, "model %s registered, %s in %" PRIu32 " layer%s",
             model, size, event->model->definition->n_layers,
             event->model->definition->n_layers == 1 ? "" : "s");
        break;
    case EVENT_MODEL_REMOVED:
        record.name = "model-removed";
        record.bytes = UINT64_MAX;
        emit(context, LOG_LEVEL_INFO, record, "model %s removed", model);
        break;
    case EVENT_LAYER_LOADING:
        record.name = "layer-loading";
        emit(context, LOG_LEVEL_DEBUG, record, "%s of %s is loading, %s", layer, model, size);
        break;
    case EVENT_LAYER_LOADED:
        record.name = "layer-loaded";
        emit(context, LOG_LEVEL_DEBUG, record, "%s of %s loaded, %s", layer, model, size);
        break;
    case EVENT_LAYER_ABANDONED:
        record.name = "layer-abandoned";
        emit(context, LOG_LEVEL_INFO, record, "the load of %s of %s was abandoned", layer, model);
        break;
    case EVENT_LAYER_EVICTED:
        record.name = "layer-evicted";
        emit(context, LOG_LEVEL_DEBUG, record, "%s of %s evicted, %s, %s", layer, model, size,
             describe_reason(event, to, reason));
        break;
    case EVENT_FLUSHED:
        record.name = "flushed";
        emit(context, LOG_LEVEL_INFO, record, "%" PRIu64 " layer%s evicted, %s, %s",
             event->n_layers, event->n_layers == 1 ? "" : "s", size,
             describe_reason(event, to, reason));
        break;
    case EVENT_REFUSED:
        record.name = "refused";
        emit(context, LOG_LEVEL_NOTICE, record, "%s: %s%s%s needs %s",
             decision_name(event->decision), layer ? layer : "", layer && model ? " of " : "",
             model ? model : "", size);
        break;
    case EVENT_LAYER_PINNED:
    case EVENT_LAYER_UNPINNED:
        break;
    case EVENT_POLICY_CHANGED:
        events_on_setting(context, "policy", event->policy_before->name, event->policy_after->name,
                          &event->requester);
        break;
    }
}

void events_on_setting(struct events *events, const char *setting, const char *from, const char *to,
                       const struct requester *requester)
{
    if (strcmp(from, to) == 0)
        return;
    char name[32];
    snprintf(name, sizeof name, "%s-changed", setting);
    emit(events, LOG_LEVEL_INFO,
         (struct event_record){
             .name = name, .bytes = UINT64_MAX, .from = from, .to = to, .requester = *requester},
         "%s changed from %s to %s", setting, from, to);
}

void events_on_view(struct events *events, const char *name, const struct client_view *view,
                    const struct peer *peer, const char *method)
{
    char bytes[SIZE_TEXT_MAX], outside[SIZE_TEXT_MAX], read[SIZE_TEXT_MAX];
    struct event_record record = {.name = name,
                                  .model = view->model,
                                  .bytes = view->bytes,
                                  .requester = {method, peer->uid, peer->pid}};

    if (!events)
        return;
    size_format(view->bytes, bytes);
    size_format(view->outside_bytes, outside);
    size_format(view->read_bytes, read);
    if (strcmp(name, "view-begun") == 0)
        emit(events, LOG_LEVEL_INFO, record,
             "%s (pid %" PRId32 ") maps %s of %s, %s of it outside the arena", view->program,
             (int32_t)peer->pid, bytes, view->model, outside);
    else
        emit(events, LOG_LEVEL_INFO, record,
             "%s (pid %" PRId32 ") no longer maps %s: %" PRIu64 " fault%s, %" PRIu64
             " of them hits, %s read, %s outside the arena",
             view->program, (int32_t)peer->pid, view->model, view->n_faults,
             view->n_faults == 1 ? "" : "s", view->n_hits, read, outside);
}

void events_on_sample(struct events *events, const struct sample *sample)
{
    char committed[SIZE_TEXT_MAX], swapped[SIZE_TEXT_MAX];

    if (sample->aligned == events->misaligned) {
        events->misaligned = !sample->aligned;
        if (sample->aligned)
            emit(events, LOG_LEVEL_INFO,
                 (struct event_record){.name = "aligned", .bytes = UINT64_MAX},
                 "the operating system agrees with the ledger again");
        else
            emit(events, LOG_LEVEL_WARNING,
                 (struct event_record){.name = "misaligned", .bytes = UINT64_MAX},
                 "the operating system disagrees with the ledger: the arena's file holds %s, "
                 "%+" PRId64 " bytes against the ledger; %s of it is swapped out",
                 size_format(sample->arena_file_bytes, committed), sample->drift_bytes,
                 size_format(sample->arena_swapped_bytes, swapped));
    }

    bool is_swapped = sample->swap_bytes + sample->arena_swapped_bytes > 0;
    if (is_swapped && !events->swapped)
        emit(events, LOG_LEVEL_WARNING,
             (struct event_record){.name = "swapped",
                                   .bytes = sample->swap_bytes + sample->arena_swapped_bytes},
             "%s of the daemon and %s of the arena are swapped out; mlock=yes prevents it",
             size_format(sample->swap_bytes, committed),
             size_format(sample->arena_swapped_bytes, swapped));
    events->swapped = is_swapped;
}

void events_on_deleted_file(struct events *events, const char *model, const char *path)
{
    emit(events, LOG_LEVEL_WARNING,
         (struct event_record){.name = "file-deleted", .model = model, .bytes = UINT64_MAX},
         "the weight file %s of model %s was deleted or replaced by another; the daemon goes on to "
         "read the old one, until the model is loaded again",
         path, model);
}

void events_on_unreadable(struct events *events, const struct layer *layer, const char *path,
                          int error, const char *program, const struct requester *requester)
{
    const char *name = layer_definition(layer)->name, *model = layer->model->definition->name;

    emit(events, LOG_LEVEL_WARNING,
         (struct event_record){.name = "view-unreadable",
                               .model = model,
                               .layer = name,
                               .bytes = UINT64_MAX,
                               .requester = *requester},
         "%s (pid %" PRId32 ") cannot read %s of %s any more: %s: %s", program, requester->pid,
         name, model, path,
         error == -ESTALE ? "the file has changed since it was registered" : strerror(-error));
}

void events_on_reload(struct events *events)
{
    emit(events, LOG_LEVEL_NOTICE, (struct event_record){.name = "reloaded", .bytes = UINT64_MAX},
         "the configuration was loaded again");
}
