/* Turns refusals and failures into error replies, with the parameters that the interface file
 * declares. */
#include "daemon/methods/error_replies.h"

#include <errno.h>

/* OutOfMemory, MustUnload. */
struct full_reply {
    uint64_t requested_bytes, available_bytes, capacity_bytes;
    json_t *victims;
    uint64_t n_victims;
    const char *layer;
};

static const struct field out_of_memory_fields[] = {
    {"requestedBytes", FIELD_U64, offsetof(struct full_reply, requested_bytes)},
    {"availableBytes", FIELD_U64, offsetof(struct full_reply, available_bytes)},
    {"capacityBytes", FIELD_U64, offsetof(struct full_reply, capacity_bytes)},
    {"layer", FIELD_STRING, offsetof(struct full_reply, layer), FIELD_NULLABLE},
    {0},
};

static const struct field must_unload_fields[] = {
    {"requestedBytes", FIELD_U64, offsetof(struct full_reply, requested_bytes)},
    {"availableBytes", FIELD_U64, offsetof(struct full_reply, available_bytes)},
    {"capacityBytes", FIELD_U64, offsetof(struct full_reply, capacity_bytes)},
    {"victims", FIELD_JSON, offsetof(struct full_reply, victims)},
    {"victimsTotal", FIELD_U64, offsetof(struct full_reply, n_victims)},
    {"layer", FIELD_STRING, offsetof(struct full_reply, layer), FIELD_NULLABLE},
    {0},
};

static json_t *name_layer(const struct layer *layer)
{
    const struct layer_definition *definition = layer_definition(layer);
    return json_pack("{s:s, s:s, s:I}", "model", layer->model->definition->name, "layer",
                     definition->name, "bytes", (json_int_t)definition->bytes);
}

void reply_not_found(struct call *call, const char *kind, const char *name)
{
    call_error(call, ERROR_NOT_FOUND, json_pack("{s:s, s:s}", "kind", kind, "name", name));
}

void reply_limit(struct call *call, const char *limit, uint64_t maximum)
{
    call_error(call, ERROR_LIMIT_EXCEEDED,
               json_pack("{s:s, s:I}", "limit", limit, "maximum", (json_int_t)maximum));
}

/* The leases and loads that block a request: the first REPLY_ELEMENTS_MAX of `total` in an array.
 * The others are only counted, so that a reply costs the loop no more with 65,536 leases than with
 * a thousand. */
struct blockers {
    json_t *array;
    uint64_t total;
};

static bool is_full(const struct blockers *blockers)
{
    return json_array_size(blockers->array) >= REPLY_ELEMENTS_MAX;
}

/* `peer` is NULL if the daemon does not know the client that holds the layer. The caller counts the
 * blocker. */
static void append_blocker(struct blockers *blockers, const struct layer *layer, bool is_loading,
                           const struct peer *peer)
{
    json_t *lease = name_layer(layer);
    json_object_set_new(lease, "loading", json_boolean(is_loading));
    if (peer) {
        json_object_set_new(lease, "user", json_sprintf("%u", (unsigned)peer->uid));
        json_object_set_new(lease, "uid", json_integer((json_int_t)peer->uid));
        json_object_set_new(lease, "pid", json_integer(peer->pid));
    }
    json_array_append_new(blockers->array, lease);
}

/* For a run without a lease: names the layer that it comes to next. */
static void append_run(struct blockers *blockers, const struct client_run *run)
{
    blockers->total++;
    if (!is_full(blockers))
        append_blocker(blockers, run->run->next, false, &run->holder->peer);
}

static void append_holder(struct blockers *blockers, const struct holder *holder, bool runs)
{
    const struct lease *held;
    const struct client_run *run;

    blockers->total += holder->n_leases;
    for (held = TAILQ_FIRST(&holder->list); held && !is_full(blockers);
         held = TAILQ_NEXT(held, entry))
        append_blocker(blockers, held->layer, false, &holder->peer);
    for (run = LIST_FIRST(&holder->runs); run; run = LIST_NEXT(run, entry))
        if (runs && !run->lease)
            append_run(blockers, run);
}

/* Lists the blockers: the loads in flight, the layers whose leases wait for their clients since the
 * restart, and every lease with its client. If `runs` is true, a run without a lease adds the layer
 * that it comes to next. */
static void reply_blockers(struct manager *manager, struct call *call, struct layer *const *loading,
                           size_t n_loading, bool runs)
{
    const struct grace *grace = handover_grace(manager->handover);
    struct blockers blockers = {json_array(), n_loading + grace->n_layers};
    const struct holder *holder;

    for (size_t i = 0; i < n_loading && !is_full(&blockers); i++)
        append_blocker(&blockers, loading[i], true, NULL);
    for (size_t i = 0; i < grace->n_layers && !is_full(&blockers); i++)
        append_blocker(&blockers, grace->layers[i].layer, false, NULL);
    for (holder = LIST_FIRST(&manager->leases.holders); holder; holder = LIST_NEXT(holder, entry))
        append_holder(&blockers, holder, runs);
    call_error(call, ERROR_BUSY,
               json_pack("{s:o, s:I}", "leases", blockers.array, "leasesTotal",
                         (json_int_t)blockers.total));
}

void reply_busy(struct manager *manager, struct call *call)
{
    _cleanup_(freep) struct layer **loading = NULL;
    size_t n_loading;
    int r = scheduler_loading(manager->scheduler, &loading, &n_loading);
    if (r < 0)
        call_io_failed(call, "list", r);
    else
        reply_blockers(manager, call, loading, n_loading, true);
}

void reply_read_failure(struct call *call, int error, const struct model_read_result *result)
{
    const struct definition_problem *problem = &result->problem;
    if (error != -EBADMSG) {
        call_io_failed(call, result->operation, error);
        return;
    }
    call_error(call, ERROR_INVALID_DEFINITION,
               json_pack("{s:I, s:I, s:s, s:s}", "line", (json_int_t)problem->line, "column",
                         (json_int_t)problem->column, "path", problem->path, "message",
                         problem->message));
}

void reply_model_refusal(struct call *call, const struct model_refusal *refusal)
{
    if (refusal->error == ERROR_LIMIT_EXCEEDED) {
        reply_limit(call, refusal->limit, refusal->maximum);
        return;
    }
    struct full_reply reply = {
        .requested_bytes = refusal->requested_bytes,
        .available_bytes = refusal->available_bytes,
        .capacity_bytes = refusal->capacity_bytes,
        .layer = refusal->layer,
    };
    call_error_fields(call, ERROR_OUT_OF_MEMORY, out_of_memory_fields, &reply);
}

const char *layer_failed_path(const struct layer *layer)
{
    const struct definition *definition = layer->model->definition;
    const struct layer_definition *description = layer_definition(layer);
    const struct weight_file *file = &definition->files[description->pieces[0].source];

    for (uint32_t i = 0; i < description->n_pieces; i++) {
        const struct weight_file *candidate = &definition->files[description->pieces[i].source];
        if (weight_file_changed(candidate)) {
            file = candidate;
            break;
        }
    }
    return file->path;
}

void reply_load_end(struct manager *manager, struct call *call, const struct load_end *end)
{
    if (end->error == -ESTALE) {
        call_error(call, ERROR_SOURCE_CHANGED,
                   json_pack("{s:s}", "path", layer_failed_path(end->layer)));
        return;
    }
    if (end->error < 0) {
        call_io_failed(call, "load", end->error);
        return;
    }

    const struct verdict *verdict = end->verdict;
    struct full_reply reply = {
        .requested_bytes = verdict->requested_bytes,
        .available_bytes = verdict->available_bytes,
        .capacity_bytes = verdict->capacity_bytes,
        .n_victims = verdict->victims.n_layers,
        .layer = layer_definition(end->layer)->name,
    };
    switch (end->refusal) {
    case ERROR_MUST_UNLOAD:
        reply.victims = json_array();
        for (size_t i = 0; i < verdict->victims.n_listed && i < REPLY_ELEMENTS_MAX; i++)
            json_array_append_new(reply.victims, name_layer(verdict->victims.layers[i]));
        call_error_fields(call, ERROR_MUST_UNLOAD, must_unload_fields, &reply);
        json_decref(reply.victims);
        break;
    case ERROR_OUT_OF_MEMORY:
        call_error_fields(call, ERROR_OUT_OF_MEMORY, out_of_memory_fields, &reply);
        break;
    default:
        reply_blockers(manager, call, verdict->blockers, verdict->n_blockers, false);
        break;
    }
}
