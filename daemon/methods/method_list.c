/* List: the models, one model's layers, or one layer's tensors, at most 1,000 in a reply.
 *
 * A list of several replies is sent as fast as the client reads it. Its position is a model's name
 * and a number, never a pointer, because models may come and go between two replies. */
#include "daemon/methods/deleted_files.h"
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"
#include "daemon/methods/tensor_rows.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <string.h>

struct listing {
    struct manager *manager;
    struct call *call;
    char *model;           /* NULL: lists the models themselves */
    uint64_t registration; /* of the model, from the first reply on; another may get its name */
    char *layer;           /* NULL: lists the model's layers; else the layer's tensors */
    bool used;             /* the layers' rows say when they were used */
    uint64_t next;         /* index of the next element */
};

struct model_row {
    const char *name;
    uint64_t n_layers, n_resident, bytes, resident_bytes, n_deleted_files, n_views;
    struct model_stats stats;
};

static const struct field model_fields[] = {
    {"name", FIELD_STRING, offsetof(struct model_row, name)},
    {"layers", FIELD_U64, offsetof(struct model_row, n_layers)},
    {"residentLayers", FIELD_U64, offsetof(struct model_row, n_resident)},
    {"bytes", FIELD_U64, offsetof(struct model_row, bytes)},
    {"residentBytes", FIELD_U64, offsetof(struct model_row, resident_bytes)},
    {"deletedFiles", FIELD_U64, offsetof(struct model_row, n_deleted_files)},
    {"hits", FIELD_U64, offsetof(struct model_row, stats.hits)},
    {"misses", FIELD_U64, offsetof(struct model_row, stats.misses)},
    {"evictions", FIELD_U64, offsetof(struct model_row, stats.evictions)},
    {"loads", FIELD_U64, offsetof(struct model_row, stats.loads)},
    {"reloads", FIELD_U64, offsetof(struct model_row, stats.reloads)},
    {"bytesLoaded", FIELD_U64, offsetof(struct model_row, stats.loaded_bytes)},
    {"views", FIELD_U64, offsetof(struct model_row, n_views)},
    {0},
};

struct layer_row {
    const char *name, *state;
    uint64_t bytes, footprint_bytes, n_extents, n_tensors;
    uint64_t used_at_usec, used_percent; /* UINT64_MAX: absent */
};

static const struct field layer_fields[] = {
    {"name", FIELD_STRING, offsetof(struct layer_row, name)},
    {"state", FIELD_STRING, offsetof(struct layer_row, state)},
    {"bytes", FIELD_U64, offsetof(struct layer_row, bytes)},
    {"footprintBytes", FIELD_U64, offsetof(struct layer_row, footprint_bytes)},
    {"extents", FIELD_U64, offsetof(struct layer_row, n_extents)},
    {"tensors", FIELD_U64, offsetof(struct layer_row, n_tensors)},
    {"usedAtUsec", FIELD_U64, offsetof(struct layer_row, used_at_usec), FIELD_NULLABLE},
    {"usedPercent", FIELD_U64, offsetof(struct layer_row, used_percent), FIELD_NULLABLE},
    {0},
};

/* The rows of one array; the two others are empty. */
struct list_reply {
    struct field_array models, layers, tensors;
    uint64_t total;
};

static const struct field reply_fields[] = {
    {"models", FIELD_OBJECTS, offsetof(struct list_reply, models), 0, model_fields},
    {"layers", FIELD_OBJECTS, offsetof(struct list_reply, layers), 0, layer_fields},
    {"tensors", FIELD_OBJECTS, offsetof(struct list_reply, tensors), 0, tensor_fields},
    {"total", FIELD_U64, offsetof(struct list_reply, total)},
    {0},
};

static struct model_row describe_model(const struct scheduler *scheduler, const struct model *model)
{
    struct model_row row = {
        .name = model->definition->name,
        .n_layers = model->definition->n_layers,
        .bytes = model->definition->bytes,
        .n_deleted_files = deleted_files_of(model),
        .stats = scheduler_model_stats(scheduler, model),
        .n_views = model->n_views,
    };
    row.n_resident = scheduler_model_resident(scheduler, model, &row.resident_bytes);
    return row;
}

/* Views ask only for layers that they do not hold, so what they tell comes first. */
static int used_percent(const struct layer *layer)
{
    return layer->told_percent > 0 ? layer->told_percent - 1
                                   : layer_uses_percent(layer->model->uses, layer->index);
}

/* With `now_usec` 0 the row does not tell when and how often the layer was used. */
static struct layer_row describe_layer(const struct scheduler *scheduler, const struct layer *layer,
                                       uint64_t now_usec)
{
    enum layer_state state = scheduler_layer_state(scheduler, layer);
    struct layer_row row = {
        .name = layer_definition(layer)->name,
        .state = layer_state_name(state),
        .bytes = layer_definition(layer)->bytes,
        .n_tensors = layer_definition(layer)->n_tensors,
        .used_at_usec = UINT64_MAX,
        .used_percent = UINT64_MAX,
    };
    if (now_usec > 0) {
        int percent = used_percent(layer);
        row.used_percent = percent >= 0 ? (uint64_t)percent : UINT64_MAX;
    }
    if (layer->used_usec > 0 && layer->used_usec <= now_usec)
        row.used_at_usec = clock_realtime_before(now_usec - layer->used_usec);
    if (state != LAYER_ABSENT) {
        row.footprint_bytes =
            scheduler_layer_pages(scheduler, layer) * arena_page_bytes(scheduler_arena(scheduler));
        row.n_extents = allocation_n_extents(&layer->allocation);
    }
    return row;
}

/* How many of `total` elements the next reply has. */
static size_t count_next(const struct listing *listing, uint64_t total)
{
    uint64_t n = total > listing->next ? total - listing->next : 0;
    return n < REPLY_ELEMENTS_MAX ? (size_t)n : (size_t)REPLY_ELEMENTS_MAX;
}

/* Each of these fills one reply, from index listing->next on, with new rows. They return 0 or
 * -ENOMEM. */
static int list_models(struct listing *listing, struct list_reply *reply, void **ret_rows)
{
    const struct scheduler *scheduler = listing->manager->scheduler;
    const struct model *model = scheduler_first_model(scheduler);
    struct scheduler_stats stats;
    scheduler_get_stats(scheduler, &stats);
    size_t n = count_next(listing, stats.n_models);
    struct model_row *rows = *ret_rows = calloc(n + 1, sizeof *rows);
    if (!rows)
        return -ENOMEM;
    for (uint64_t i = 0; i < listing->next && model; i++)
        model = model->next;
    for (size_t i = 0; i < n; i++, model = model->next)
        rows[i] = describe_model(scheduler, model);
    reply->models = (struct field_array){rows, n, sizeof *rows};
    reply->total = stats.n_models;
    listing->next += n;
    return 0;
}

static int list_layers(struct listing *listing, const struct model *model, struct list_reply *reply,
                       void **ret_rows)
{
    reply->total = model->definition->n_layers;
    size_t n = count_next(listing, reply->total);
    struct layer_row *rows = *ret_rows = calloc(n + 1, sizeof *rows);
    if (!rows)
        return -ENOMEM;
    uint64_t now_usec = listing->used ? clock_monotonic_usec() : 0;
    for (size_t i = 0; i < n; i++)
        rows[i] =
            describe_layer(listing->manager->scheduler, &model->layers[listing->next++], now_usec);
    reply->layers = (struct field_array){rows, n, sizeof *rows};
    return 0;
}

static int list_tensors(struct listing *listing, const struct layer *layer,
                        struct list_reply *reply, void **ret_rows)
{
    reply->total = layer_definition(layer)->n_tensors;
    size_t n = count_next(listing, reply->total);
    struct tensor_row *rows = *ret_rows = calloc(n + 1, sizeof *rows);
    if (!rows)
        return -ENOMEM;
    describe_tensors(layer_definition(layer), listing->next, n, rows);
    reply->tensors = (struct field_array){rows, n, sizeof *rows};
    listing->next += n;
    return 0;
}

/* Returns false if the listed model or layer is gone, or there is no memory; it has then answered
 * the call. The caller frees the rows, to which the reply refers. */
static bool list_next(struct listing *listing, struct list_reply *reply, void **ret_rows)
{
    struct model *model = NULL;
    struct layer *layer = NULL;
    int r;

    if (listing->model &&
        !(model = manager_find_model(listing->manager, listing->call, listing->model)))
        return false;
    if (model && listing->next == 0)
        listing->registration = model->registration;
    if (model && model->registration != listing->registration) {
        reply_not_found(listing->call, "model", listing->model);
        return false;
    }
    if (listing->layer && !(layer = manager_find_layer(listing->call, model, listing->layer)))
        return false;
    if (layer)
        r = list_tensors(listing, layer, reply, ret_rows);
    else if (model)
        r = list_layers(listing, model, reply, ret_rows);
    else
        r = list_models(listing, reply, ret_rows);
    if (r < 0)
        call_io_failed(listing->call, "list", r);
    return r == 0;
}

static void listing_free(struct listing *listing)
{
    free(listing->model);
    free(listing->layer);
    free(listing);
}

/* Sends replies until the last one, which frees the listing, or until the client falls behind. */
static void proceed(struct listing *listing)
{
    for (bool last = false; !last;) {
        struct list_reply reply = {0};
        _cleanup_(freep) void *rows = NULL;
        bool found = list_next(listing, &reply, &rows);

        last = !found || listing->next >= reply.total || !call_more(listing->call);
        if (found && last)
            call_reply_fields(listing->call, reply_fields, &reply);
        else if (found)
            call_continue_fields(listing->call, reply_fields, &reply);
        if (!last && !call_may_continue(listing->call))
            return;
    }
    listing_free(listing);
}

static void cancelled(void *context)
{
    listing_free(context);
}

static void drained(void *context)
{
    proceed(context);
}

struct list_parameters {
    const char *model, *layer;
    bool used;
};

static const struct field parameter_fields[] = {
    {"model", FIELD_STRING, offsetof(struct list_parameters, model)},
    {"layer", FIELD_STRING, offsetof(struct list_parameters, layer)},
    {"used", FIELD_BOOL, offsetof(struct list_parameters, used)},
    {0},
};

void method_list(struct call *call, void *context)
{
    static const struct call_hooks hooks = {cancelled, drained};
    struct list_parameters parameters = {0};

    if (!call_decode(call, parameter_fields, &parameters))
        return;
    if (parameters.layer && !parameters.model) {
        call_invalid_parameter(call, "layer");
        return;
    }
    struct listing *listing = calloc(1, sizeof *listing);
    char *model = parameters.model ? strdup(parameters.model) : NULL;
    char *layer = parameters.layer ? strdup(parameters.layer) : NULL;
    if (!listing || (parameters.model && !model) || (parameters.layer && !layer)) {
        free(listing);
        free(model);
        free(layer);
        call_io_failed(call, "list", -ENOMEM);
        return;
    }
    *listing = (struct listing){
        .manager = context, .call = call, .model = model, .layer = layer, .used = parameters.used};
    call_set_hooks(call, &hooks, listing);
    proceed(listing);
}
