/* LoadModel and LoadLayer. They reply when the bytes are in place. */
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"
#include "daemon/methods/restoring.h"

#include "common/clock.h"

#include <errno.h>
#include <event2/event.h>

/* One LoadModel or LoadLayer in progress. Freed after its final answer, or when the peer goes
 * away. */
struct loading {
    struct manager *manager;
    struct call *call;
    struct model_reader *reader; /* while the definition is read */
    struct load_request *load;   /* while layers are loaded */
    struct event *ticker;        /* reports the progress within a large layer */
    struct model *model;
    struct definition *replaced;      /* of the model that this one has replaced; or NULL */
    struct unloading unloading;       /* of that model */
    struct restoring restoring;       /* of that model, after the new one has failed */
    struct wait wait;                 /* for room that views should give back ... */
    const struct layer *recalled_for; /* ... for this layer */
    uint64_t zero_bytes;              /* see zeroBytes in the interface file */
    enum on_full on_full;
    bool replace, is_unregistered; /* the model is not known to the scheduler */
};

struct load_reply {
    const char *model, *layer;
    struct load_progress progress;
    uint64_t n_resident, zero_bytes;
};

static const struct field load_reply_fields[] = {
    {"model", FIELD_STRING, offsetof(struct load_reply, model)},
    {"layer", FIELD_STRING, offsetof(struct load_reply, layer), FIELD_NULLABLE},
    {"layersDone", FIELD_U64, offsetof(struct load_reply, progress.layers_done)},
    {"layersTotal", FIELD_U64, offsetof(struct load_reply, progress.layers_total)},
    {"bytesDone", FIELD_U64, offsetof(struct load_reply, progress.bytes_done)},
    {"bytesTotal", FIELD_U64, offsetof(struct load_reply, progress.bytes_total)},
    {"hits", FIELD_U64, offsetof(struct load_reply, progress.hits)},
    {"loaded", FIELD_U64, offsetof(struct load_reply, progress.loaded)},
    {"mustUnload", FIELD_U64, offsetof(struct load_reply, progress.must_unload)},
    {"evicted", FIELD_U64, offsetof(struct load_reply, progress.evicted)},
    {"flushes", FIELD_U64, offsetof(struct load_reply, progress.flushed)},
    {"resident", FIELD_U64, offsetof(struct load_reply, n_resident)},
    {"zeroBytes", FIELD_U64, offsetof(struct load_reply, zero_bytes)},
    {0},
};

static const struct timeval tick = {.tv_usec = 100 * 1000};

static void loading_free(struct loading *loading)
{
    if (loading->ticker)
        event_free(loading->ticker);
    unloading_cancel(&loading->unloading);
    definition_unref(loading->replaced);
    if (loading->is_unregistered) {
        const struct model_preparation *preparation = &loading->manager->preparation;
        preparation->forget(loading->model->definition, preparation->context);
        model_free(loading->model, NULL);
    }
    free(loading);
}
DEFINE_CLEANUP(struct loading *, loading_free);

static void cancelled(void *context)
{
    struct loading *loading = context;
    wait_end(&loading->wait);
    if (loading->restoring.manager) {
        restoring_without_call(&loading->restoring);
        return;
    }
    if (loading->reader)
        model_reader_cancel(loading->reader, NULL);
    if (loading->load)
        load_request_cancel(loading->load);
    loading_free(loading);
}

static struct loading *loading_new(struct manager *manager, struct call *call)
{
    static const struct call_hooks hooks = {.cancelled = cancelled};
    struct loading *loading = calloc(1, sizeof(*loading));
    if (!loading) {
        call_io_failed(call, "load", -ENOMEM);
        return NULL;
    }
    loading->manager = manager;
    loading->call = call;
    call_set_hooks(call, &hooks, loading);
    return loading;
}

static struct load_reply describe(const struct loading *loading,
                                  const struct load_progress *progress, const struct layer *layer)
{
    struct model *model = loading->model;
    return (struct load_reply){
        .model = model->definition->name,
        .layer = layer ? layer_definition(layer)->name : NULL,
        .progress = *progress,
        .n_resident = scheduler_model_resident(loading->manager->scheduler, model, NULL),
        .zero_bytes = loading->zero_bytes,
    };
}

static void model_progress(const struct load_progress *progress, const struct layer *layer,
                           void *context)
{
    struct loading *loading = context;
    /* A client that falls behind misses some progress replies, never the result. */
    if (!call_more(loading->call) || call_pending_bytes(loading->call) > 0)
        return;
    struct load_reply reply = describe(loading, progress, layer);
    call_continue_fields(loading->call, load_reply_fields, &reply);
}

static bool is_model_gone(const struct loading *loading)
{
    return loading->wait.waits && !loading->wait.layer;
}

static void wait_over(enum wait_end end, void *context)
{
    struct loading *loading = context;
    if (end != WAIT_GONE) {
        load_request_resume(loading->load);
        return;
    }
    const json_t *model = json_object_get(call_parameters(loading->call), "model");
    reply_not_found(loading->call, "model", json_string_value(model) ?: "");
    load_request_cancel(loading->load);
    loading_free(loading);
}

/* Leases are in the way. Those of views can be asked back, once for each layer. */
static bool blocked(const struct layer *layer, void *context)
{
    struct loading *loading = context;
    struct manager *manager = loading->manager;
    if (loading->on_full == ON_FULL_ASK || loading->recalled_for == layer ||
        !view_plans_make_room(&manager->view_plans,
                              scheduler_footprint(manager->scheduler, layer, NULL)))
        return false;
    loading->recalled_for = layer;
    wait_begin(&loading->wait, manager->waits, layer, clock_monotonic_usec() + VIEW_RECALL_USEC,
               call_peer(loading->call)->tier == TIER_ADMIN, wait_over, loading);
    return true;
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct loading *loading = context;
    struct load_progress progress;
    const struct layer *layer;
    (void)fd;
    (void)what;
    if (is_model_gone(loading))
        return;
    load_request_get_progress(loading->load, &progress, &layer);
    model_progress(&progress, layer, loading);
}

static void restored(void *context)
{
    loading_free(context);
}

/* The model cannot be read. The reply waits until the one that it has replaced is registered
 * again. */
static void restore(struct loading *loading, const struct load_end *end)
{
    loading->load = NULL;
    if (loading->ticker)
        event_del(loading->ticker);
    restoring_begin(&loading->restoring, loading->manager, loading->call, end, loading->replaced,
                    restored, loading);
}

static void model_ended(const struct load_progress *progress, const struct load_end *end,
                        void *context)
{
    _cleanup_(loading_freep) struct loading *loading = context;
    if (end->error < 0 && loading->replaced) {
        restore(TAKE_PTR(loading), end);
        return;
    }
    if (end->error < 0 || end->refusal != ERROR_NONE) {
        reply_load_end(loading->manager, loading->call, end);
        return;
    }
    struct load_reply reply = describe(loading, progress, NULL);
    call_reply_fields(loading->call, load_reply_fields, &reply);
}

static void layer_ended(const struct load_progress *progress, const struct load_end *end,
                        void *context)
{
    _cleanup_(loading_freep) struct loading *loading = context;
    if (end->error < 0 || end->refusal != ERROR_NONE) {
        reply_load_end(loading->manager, loading->call, end);
        return;
    }
    call_reply(loading->call,
               json_pack("{s:b, s:I, s:b, s:I, s:I}", "hit", progress->hits > 0, "bytes",
                         (json_int_t)progress->bytes_done, "mustUnload", progress->must_unload > 0,
                         "evicted", (json_int_t)progress->evicted, "zeroBytes",
                         (json_int_t)loading->zero_bytes));
}

static void start(struct loading *loading, uint32_t first, uint32_t n_layers,
                  const struct load_hooks *hooks)
{
    struct requester requester = manager_requester(loading->call);
    const struct load_layers layers = {.model = loading->model, .first = first, .n = n_layers};
    int r = load_request_start(loading->manager->loads, &requester, &layers, loading->on_full,
                               hooks, loading, &loading->load);
    if (r < 0) {
        call_io_failed(loading->call, "load", r);
        loading_free(loading);
    }
}

/* The bytes that are not read from a file: those of layers without weights, or all bytes in a
 * simulation. */
static uint64_t count_zero_bytes(const struct manager *manager, const struct definition *definition,
                                 uint32_t first, uint32_t n_layers)
{
    uint64_t n_bytes = 0;
    for (uint32_t i = first; i < first + n_layers; i++)
        if (!manager->backing || definition->layers[i].n_pieces == 0)
            n_bytes += definition->layers[i].bytes;
    return n_bytes;
}

/* Registers the model, and loads its layers. */
static void register_model(struct loading *loading)
{
    static const struct load_hooks hooks = {
        .progress = model_progress, .blocked = blocked, .ended = model_ended};
    struct manager *manager = loading->manager;
    const struct definition *definition = loading->model->definition;

    loading->is_unregistered = false;
    manager_begin_request(manager, loading->call);
    scheduler_register_model(manager->scheduler, loading->model);
    manager_end_request(manager);
    loading->zero_bytes = count_zero_bytes(manager, definition, 0, definition->n_layers);
    if (call_more(loading->call)) {
        loading->ticker = event_new(manager->base, -1, EV_PERSIST, on_tick, loading);
        if (loading->ticker)
            event_add(loading->ticker, &tick);
    }
    start(loading, 0, definition->n_layers, &hooks);
}

/* Whether the model may be registered, in the place of `replaced` if that is not NULL. Otherwise it
 * has answered the call. */
static bool check_model(struct loading *loading, const struct model *replaced)
{
    struct model_refusal refusal;
    manager_begin_request(loading->manager, loading->call);
    int r = scheduler_check_model(loading->manager->scheduler, loading->model, replaced, &refusal);
    manager_end_request(loading->manager);
    if (r == 0)
        return true;
    if (refusal.error == ERROR_ALREADY_LOADED)
        call_error(loading->call, ERROR_ALREADY_LOADED,
                   json_pack("{s:s}", "model", loading->model->definition->name));
    else
        reply_model_refusal(loading->call, &refusal);
    return false;
}

static void replaced_unloaded(int error, void *context)
{
    struct loading *loading = context;
    if (error < 0)
        reply_busy(loading->manager, loading->call);
    /* Meanwhile other models may have been registered. */
    if (error < 0 || !check_model(loading, NULL))
        loading_free(loading);
    else
        register_model(loading);
}

static void imported(int error, struct model_read_result *result, void *context)
{
    struct loading *loading = context;
    loading->reader = NULL;

    if (error < 0) {
        reply_read_failure(loading->manager, loading->call, error, result);
        loading_free(loading);
        return;
    }
    struct manager *manager = loading->manager;
    struct model *known = loading->replace
                              ? scheduler_find_model(manager->scheduler, result->definition->name)
                              : NULL;
    loading->model = TAKE_PTR(result->model);
    result->use = memory_use_keep(result->use);
    loading->is_unregistered = true;
    if (!check_model(loading, known)) {
        loading_free(loading);
    } else if (known) {
        loading->replaced = definition_ref(known->definition);
        unloading_begin(&loading->unloading, manager, loading->call, known, replaced_unloaded,
                        loading);
    } else {
        register_model(loading);
    }
}

struct load_model_parameters {
    struct source_parameters source;
    const char *on_full;
    bool replace;
};

static const struct field load_model_fields[] = {
    SOURCE_FIELDS(struct load_model_parameters, source),
    {"onFull", FIELD_STRING, offsetof(struct load_model_parameters, on_full)},
    {"replace", FIELD_BOOL, offsetof(struct load_model_parameters, replace)},
    {0},
};

void method_load_model(struct call *call, void *context)
{
    struct manager *manager = context;
    struct load_model_parameters parameters = {.source.fd_index = UINT64_MAX};
    struct model_source source;
    enum on_full on_full;

    if (!call_decode(call, load_model_fields, &parameters) ||
        !manager_on_full(manager, call, parameters.on_full, &on_full))
        return;
    if (monitor_last(manager->monitor)->overhead_bytes >= manager->overhead_limit_bytes) {
        reply_overhead(manager, call);
        return;
    }
    if (!manager_model_source(manager, call, &parameters.source, &source))
        return;

    struct loading *loading = loading_new(manager, call);
    if (!loading) {
        model_source_done(&source);
        return;
    }
    loading->on_full = on_full;
    loading->replace = parameters.replace;
    int r = model_reader_start(manager->readers, call_peer(call)->uid, &source,
                               &manager->preparation, imported, loading, &loading->reader);
    if (r < 0) {
        call_io_failed(call, "read", r);
        loading_free(loading);
    }
}

struct load_layer_parameters {
    const char *model, *layer, *on_full;
};

static const struct field load_layer_fields[] = {
    {"model", FIELD_STRING, offsetof(struct load_layer_parameters, model), FIELD_REQUIRED},
    {"layer", FIELD_STRING, offsetof(struct load_layer_parameters, layer), FIELD_REQUIRED},
    {"onFull", FIELD_STRING, offsetof(struct load_layer_parameters, on_full)},
    {0},
};

void method_load_layer(struct call *call, void *context)
{
    static const struct load_hooks hooks = {.blocked = blocked, .ended = layer_ended};
    struct manager *manager = context;
    struct load_layer_parameters parameters = {0};
    enum on_full on_full;
    struct model *model;
    struct layer *layer;

    if (!call_decode(call, load_layer_fields, &parameters) ||
        !manager_on_full(manager, call, parameters.on_full, &on_full) ||
        !(model = manager_find_model(manager, call, parameters.model)) ||
        !(layer = manager_find_layer(call, model, parameters.layer)))
        return;

    struct loading *loading = loading_new(manager, call);
    if (!loading)
        return;
    loading->on_full = on_full;
    loading->model = model;
    loading->zero_bytes = count_zero_bytes(manager, model->definition, layer->index, 1);
    start(loading, layer->index, 1, &hooks);
}
