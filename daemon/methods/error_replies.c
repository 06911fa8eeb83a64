/* Turns refusals and failures into error replies, with the parameters that the interface file
 * declares. */
#include "daemon/methods/error_replies.h"

#include "common/definition/definition_units.h"

#include <errno.h>
#include <inttypes.h>

/* OutOfMemory, MustUnload. */
struct full_reply {
    uint64_t requested_bytes, available_bytes, capacity_bytes;
    struct field_array victims;
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

struct victim_row {
    const char *model, *layer;
    uint64_t bytes;
};

static const struct field victim_fields[] = {
    {"model", FIELD_STRING, offsetof(struct victim_row, model)},
    {"layer", FIELD_STRING, offsetof(struct victim_row, layer)},
    {"bytes", FIELD_U64, offsetof(struct victim_row, bytes)},
    {0},
};

static const struct field must_unload_fields[] = {
    {"requestedBytes", FIELD_U64, offsetof(struct full_reply, requested_bytes)},
    {"availableBytes", FIELD_U64, offsetof(struct full_reply, available_bytes)},
    {"capacityBytes", FIELD_U64, offsetof(struct full_reply, capacity_bytes)},
    {"victims", FIELD_OBJECTS, offsetof(struct full_reply, victims), 0, victim_fields},
    {"victimsTotal", FIELD_U64, offsetof(struct full_reply, n_victims)},
    {"layer", FIELD_STRING, offsetof(struct full_reply, layer), FIELD_NULLABLE},
    {0},
};

void reply_not_found(struct call *call, const char *kind, const char *name)
{
    call_error(call, ERROR_NOT_FOUND, json_pack("{s:s, s:s}", "kind", kind, "name", name));
}

void reply_unit_not_found(struct call *call, const struct model *model, const char *layer,
                          uint64_t unit)
{
    uint32_t n_units = definition_count_units(model->definition, layer);
    char number[24];

    if (n_units == 0 && definition_find_layer(model->definition, layer) < 0) {
        reply_not_found(call, "layer", layer);
        return;
    }
    snprintf(number, sizeof number, "%" PRIu64, unit);
    call_error(call, ERROR_NOT_FOUND,
               json_pack("{s:s, s:s, s:s, s:i}", "kind", "unit", "name", number, "layer", layer,
                         "units", (int)n_units));
}

void reply_limit(struct call *call, const char *limit, uint64_t maximum)
{
    call_error(call, ERROR_LIMIT_EXCEEDED,
               json_pack("{s:s, s:I}", "limit", limit, "maximum", (json_int_t)maximum));
}

/* `uid` and `pid` are UINT64_MAX if the daemon does not know the client that holds the layer. */
struct blocker_row {
    const char *model, *layer;
    uint64_t bytes, uid, pid;
    const char *user;
    char user_text[12];
    bool is_loading;
};

static const struct field blocker_fields[] = {
    {"model", FIELD_STRING, offsetof(struct blocker_row, model)},
    {"layer", FIELD_STRING, offsetof(struct blocker_row, layer)},
    {"bytes", FIELD_U64, offsetof(struct blocker_row, bytes)},
    {"loading", FIELD_BOOL, offsetof(struct blocker_row, is_loading)},
    {"user", FIELD_STRING, offsetof(struct blocker_row, user), FIELD_NULLABLE},
    {"uid", FIELD_U64, offsetof(struct blocker_row, uid), FIELD_NULLABLE},
    {"pid", FIELD_U64, offsetof(struct blocker_row, pid), FIELD_NULLABLE},
    {0},
};

/* The leases and loads that block a request: the first REPLY_ELEMENTS_MAX of `total` in rows. The
 * others are only counted, so that a reply costs the loop no more with 65,536 leases than with a
 * thousand. */
struct blockers {
    struct blocker_row *rows;
    size_t n;
    uint64_t total;
};

struct busy_reply {
    struct field_array leases;
    uint64_t total;
};

static const struct field busy_fields[] = {
    {"leases", FIELD_OBJECTS, offsetof(struct busy_reply, leases), 0, blocker_fields},
    {"leasesTotal", FIELD_U64, offsetof(struct busy_reply, total)},
    {0},
};

static bool is_full(const struct blockers *blockers)
{
    return blockers->n == REPLY_ELEMENTS_MAX;
}

/* `peer` is NULL if the daemon does not know the client that holds the layer. The caller counts the
 * blocker. */
static void append_blocker(struct blockers *blockers, const struct layer *layer, bool is_loading,
                           const struct peer *peer)
{
    struct blocker_row *row = &blockers->rows[blockers->n++];
    *row = (struct blocker_row){
        .model = layer->model->definition->name,
        .layer = layer_definition(layer)->name,
        .bytes = layer_definition(layer)->bytes,
        .uid = peer ? peer->uid : UINT64_MAX,
        .pid = peer ? (uint64_t)peer->pid : UINT64_MAX,
        .user = peer ? row->user_text : NULL,
        .is_loading = is_loading,
    };
    if (peer)
        snprintf(row->user_text, sizeof row->user_text, "%u", (unsigned)peer->uid);
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
    _cleanup_(freep) struct blocker_row *rows = calloc(REPLY_ELEMENTS_MAX, sizeof *rows);
    struct blockers blockers = {rows, 0, n_loading + grace->n_layers};
    const struct holder *holder;

    if (!rows) {
        call_io_failed(call, "list", -ENOMEM);
        return;
    }
    for (size_t i = 0; i < n_loading && !is_full(&blockers); i++)
        append_blocker(&blockers, loading[i], true, NULL);
    for (size_t i = 0; i < grace->n_layers && !is_full(&blockers); i++)
        append_blocker(&blockers, grace->layers[i].layer, false, NULL);
    for (holder = LIST_FIRST(&manager->leases.holders); holder; holder = LIST_NEXT(holder, entry))
        append_holder(&blockers, holder, runs);
    call_error_fields(call, ERROR_BUSY, busy_fields,
                      &(struct busy_reply){{rows, blockers.n, sizeof *rows}, blockers.total});
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

void reply_overhead(const struct manager *manager, struct call *call)
{
    reply_limit(call, "overhead-limit", manager->overhead_limit_bytes);
}

void reply_read_failure(const struct manager *manager, struct call *call, int error,
                        const struct model_read_result *result)
{
    const struct definition_problem *problem = &result->problem;
    if (error == -EDQUOT) {
        reply_overhead(manager, call);
        return;
    }
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
        struct weight_file_look look;
        if (weight_file_look(candidate->fd, &look) < 0 ||
            !weight_file_is_intact(candidate, &look)) {
            file = candidate;
            break;
        }
    }
    return file->path;
}

/* Names the first REPLY_ELEMENTS_MAX victims. */
static void reply_must_unload(struct call *call, const struct victims *victims,
                              struct full_reply *reply)
{
    size_t n = victims->n_listed < REPLY_ELEMENTS_MAX ? victims->n_listed : REPLY_ELEMENTS_MAX;
    _cleanup_(freep) struct victim_row *rows = calloc(n + 1, sizeof *rows);
    if (!rows) {
        call_io_failed(call, "list", -ENOMEM);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct layer *layer = victims->layers[i];
        rows[i] = (struct victim_row){layer->model->definition->name, layer_definition(layer)->name,
                                      layer_definition(layer)->bytes};
    }
    reply->victims = (struct field_array){rows, n, sizeof *rows};
    call_error_fields(call, ERROR_MUST_UNLOAD, must_unload_fields, reply);
}

void reply_load_failure(struct call *call, int error, const char *path)
{
    if (error == -ESTALE)
        call_error(call, ERROR_SOURCE_CHANGED, json_pack("{s:s}", "path", path));
    else
        call_io_failed(call, "load", error);
}

void reply_load_end(struct manager *manager, struct call *call, const struct load_end *end)
{
    if (end->error < 0) {
        reply_load_failure(call, end->error,
                           end->error == -ESTALE ? layer_failed_path(end->layer) : NULL);
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
        reply_must_unload(call, &verdict->victims, &reply);
        break;
    case ERROR_OUT_OF_MEMORY:
        call_error_fields(call, ERROR_OUT_OF_MEMORY, out_of_memory_fields, &reply);
        break;
    default:
        reply_blockers(manager, call, verdict->blockers, verdict->n_blockers, false);
        break;
    }
}
