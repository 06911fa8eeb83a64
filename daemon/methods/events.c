/* Events of models, layers, views and settings. Leaves the form of an event to event_record.c, and
 * those of the daemon's memory to events_memory.c. */
#include "daemon/methods/events.h"

#include "common/units.h"
#include "daemon/methods/event_record.h"
#include "daemon/methods/watchers.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Longer texts are truncated. SUCCESSOR: a model's name, "/" and a layer's name. */
enum { SUCCESSOR_TEXT_MAX = 300, REASON_TEXT_MAX = SUCCESSOR_TEXT_MAX + 150 };

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
    else if (event->trimmed)
        snprintf(reason, REASON_TEXT_MAX, "because memory is short");
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
    case EVENT_LAYER_ABANDONED:
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
                                  .reason = event->trimmed ? "pressure" : NULL,
                                  .requester = event->requester};

    switch (event->type) {
    case EVENT_MODEL_ADDED:
        record.name = "model-added";
        event_emit(context, LOG_LEVEL_INFO, record,
                   "model %s registered, %s in %" PRIu32 " layer%s", model, size,
                   event->model->definition->n_layers,
                   event->model->definition->n_layers == 1 ? "" : "s");
        break;
    case EVENT_MODEL_REMOVED:
        record.name = "model-removed";
        record.bytes = UINT64_MAX;
        event_emit(context, LOG_LEVEL_INFO, record, "model %s removed", model);
        break;
    case EVENT_LAYER_LOADING:
        record.name = "layer-loading";
        event_emit(context, LOG_LEVEL_DEBUG, record, "%s of %s is loading, %s", layer, model, size);
        break;
    case EVENT_LAYER_LOADED:
        record.name = "layer-loaded";
        event_emit(context, LOG_LEVEL_DEBUG, record, "%s of %s loaded, %s", layer, model, size);
        break;
    case EVENT_LAYER_ABANDONED:
        record.name = "layer-abandoned";
        event_emit(context, LOG_LEVEL_DEBUG, record, "the load of %s of %s was abandoned", layer,
                   model);
        break;
    case EVENT_LAYER_EVICTED:
        record.name = "layer-evicted";
        event_emit(context, LOG_LEVEL_DEBUG, record, "%s of %s evicted, %s, %s", layer, model, size,
                   describe_reason(event, to, reason));
        break;
    case EVENT_FLUSHED:
        record.name = "flushed";
        event_emit(context, LOG_LEVEL_INFO, record, "%" PRIu64 " layer%s evicted, %s, %s",
                   event->n_layers, event->n_layers == 1 ? "" : "s", size,
                   describe_reason(event, to, reason));
        break;
    case EVENT_REFUSED:
        record.name = "refused";
        event_emit(context, LOG_LEVEL_NOTICE, record, "%s: %s%s%s needs %s",
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
    event_emit(
        events, LOG_LEVEL_INFO,
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
        event_emit(events, LOG_LEVEL_INFO, record,
                   "%s (pid %" PRId32 ") maps %s of %s, %s of it outside the arena", view->program,
                   (int32_t)peer->pid, bytes, view->model, outside);
    else
        event_emit(events, LOG_LEVEL_INFO, record,
                   "%s (pid %" PRId32 ") no longer maps %s: %" PRIu64 " fault%s, %" PRIu64
                   " of them hits, %s read, %s outside the arena",
                   view->program, (int32_t)peer->pid, view->model, view->n_faults,
                   view->n_faults == 1 ? "" : "s", view->n_hits, read, outside);
}

void events_on_deleted_file(struct events *events, const char *model, const char *path)
{
    event_emit(
        events, LOG_LEVEL_WARNING,
        (struct event_record){.name = "file-deleted", .model = model, .bytes = UINT64_MAX},
        "the weight file %s of model %s was deleted or replaced by another; the daemon goes on to "
        "read the old one, until the model is loaded again",
        path, model);
}

void events_on_unreadable(struct events *events, const struct layer *layer, const char *path,
                          int error, const char *program, const struct requester *requester)
{
    const char *name = layer_definition(layer)->name, *model = layer->model->definition->name;

    event_emit(events, LOG_LEVEL_WARNING,
               (struct event_record){.name = "view-unreadable",
                                     .model = model,
                                     .layer = name,
                                     .bytes = UINT64_MAX,
                                     .requester = *requester},
               "%s (pid %" PRId32 ") cannot read %s of %s any more: %s: %s", program,
               requester->pid, name, model, path,
               error == -ESTALE ? "the file has changed since it was registered"
                                : strerror(-error));
}

void events_on_reload(struct events *events)
{
    event_emit(events, LOG_LEVEL_NOTICE,
               (struct event_record){.name = "reloaded", .bytes = UINT64_MAX},
               "the configuration was loaded again");
}
