/* Acquire and Release. A connection's leases hang on the connection and end with it. */
#include "daemon/methods.h"

#include <errno.h>
#include <inttypes.h>

/* One Acquire whose layer is being loaded; freed by its answer or by the peer's going away. */
struct acquiring {
    struct manager *manager;
    struct call *call;
    struct load *load;
    struct layer *layer;
};

struct acquire_reply {
    const char *lease, *layer;
    uint64_t bytes;
    json_t *segments, *tensors;
    uint64_t arena_fd_index; /* UINT64_MAX: none */
};

static const struct field reply_fields[] = {
    {"lease", FIELD_STRING, offsetof(struct acquire_reply, lease)},
    {"layer", FIELD_STRING, offsetof(struct acquire_reply, layer)},
    {"bytes", FIELD_U64, offsetof(struct acquire_reply, bytes)},
    {"segments", FIELD_JSON, offsetof(struct acquire_reply, segments)},
    {"tensors", FIELD_JSON, offsetof(struct acquire_reply, tensors)},
    {"arenaFileDescriptor", FIELD_U64, offsetof(struct acquire_reply, arena_fd_index),
     FIELD_NULLABLE},
    {0},
};

/* Where a resident layer's bytes lie in the arena. */
static json_t *describe_segments(const struct scheduler *scheduler, const struct layer *layer)
{
    uint64_t page_bytes = arena_page_bytes(scheduler_arena(scheduler));
    uint64_t skip_bytes = layer_definition(layer)->shift_bytes;
    uint64_t left_bytes = layer_definition(layer)->bytes;
    json_t *segments = json_array();

    for (const struct extent *extent = layer->allocation.extents; extent && left_bytes > 0;
         extent = extent->next) {
        uint64_t n_bytes = extent->n_pages * page_bytes - skip_bytes;
        if (n_bytes > left_bytes)
            n_bytes = left_bytes;
        json_array_append_new(segments,
                              json_pack("{s:I, s:I}", "offset",
                                        (json_int_t)(extent->first_page * page_bytes + skip_bytes),
                                        "length", (json_int_t)n_bytes));
        left_bytes -= n_bytes;
        skip_bytes = 0;
    }
    return segments;
}

static void connection_ended(void *context)
{
    holder_free(context);
}

static struct holder *find_holder(struct manager *manager, struct call *call)
{
    struct holder *holder = call_connection_data(call);
    if (!holder) {
        holder = holder_new(&manager->leases, call_peer(call));
        if (holder)
            call_set_connection_data(call, holder, connection_ended);
    }
    return holder;
}

static void answer(struct manager *manager, struct call *call, struct layer *layer)
{
    const struct lease *lease;
    struct holder *holder = find_holder(manager, call);
    bool is_first = holder && !holder->has_arena;
    int r = holder ? lease_take(holder, layer, &lease) : -ENOMEM;
    if (r == -EMFILE) {
        answer_limit(call, "leases of a connection", LEASES_PER_CONNECTION_MAX);
        return;
    }
    if (r < 0) {
        call_io_failed(call, "lease", r);
        return;
    }

    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, lease->id);
    struct acquire_reply reply = {
        .lease = id,
        .layer = layer_definition(layer)->name,
        .bytes = layer_definition(layer)->bytes,
        .segments = describe_segments(manager->scheduler, layer),
        .tensors = describe_tensors(layer, 0, layer_definition(layer)->n_tensors),
        .arena_fd_index = UINT64_MAX,
    };
    if (is_first && manager->backing) {
        reply.arena_fd_index = call_attach_fd(call, backing_read_only_fd(manager->backing));
        holder->has_arena = true;
    }
    call_reply_fields(call, reply_fields, &reply);
    json_decref(reply.segments);
    json_decref(reply.tensors);
}

static void cancelled(void *context)
{
    struct acquiring *acquiring = context;
    load_cancel(acquiring->load);
    free(acquiring);
}

static void ended(const struct load_progress *progress, const struct load_end *end, void *context)
{
    _cleanup_(freep) struct acquiring *acquiring = context;
    (void)progress;
    if (end->error < 0 || end->refusal != ERROR_NONE)
        answer_load_end(acquiring->manager, acquiring->call, end);
    else
        answer(acquiring->manager, acquiring->call, acquiring->layer);
}

struct acquire_parameters {
    const char *model, *layer;
};

static const struct field acquire_fields[] = {
    {"model", FIELD_STRING, offsetof(struct acquire_parameters, model), FIELD_REQUIRED},
    {"layer", FIELD_STRING, offsetof(struct acquire_parameters, layer), FIELD_REQUIRED},
    {0},
};

void method_acquire(struct call *call, void *context)
{
    static const struct call_hooks call_hooks = {.cancelled = cancelled};
    static const struct load_hooks load_hooks = {.ended = ended};
    struct manager *manager = context;
    struct acquire_parameters parameters = {0};
    struct model *model;
    struct layer *layer;

    if (!call_decode(call, acquire_fields, &parameters) ||
        !(model = manager_find_model(manager, call, parameters.model)) ||
        !(layer = manager_find_layer(call, model, parameters.layer)))
        return;

    struct acquiring *acquiring = calloc(1, sizeof *acquiring);
    if (!acquiring) {
        call_io_failed(call, "lease", -ENOMEM);
        return;
    }
    *acquiring = (struct acquiring){manager, call, NULL, layer};
    call_set_hooks(call, &call_hooks, acquiring);
    int r = load_start(manager->loads, model, layer->index, 1, ON_FULL_EVICT, &load_hooks,
                       acquiring, &acquiring->load);
    if (r < 0) {
        call_io_failed(call, "lease", r);
        free(acquiring);
    }
}

struct release_parameters {
    const char *lease;
};

static const struct field release_fields[] = {
    {"lease", FIELD_STRING, offsetof(struct release_parameters, lease), FIELD_REQUIRED},
    {0},
};

void method_release(struct call *call, void *context)
{
    struct release_parameters parameters = {0};
    struct holder *holder = call_connection_data(call);
    (void)context;

    if (!call_decode(call, release_fields, &parameters))
        return;
    char *end;
    errno = 0;
    uint64_t id = strtoull(parameters.lease, &end, 10);
    bool is_number =
        errno == 0 && *end == '\0' && parameters.lease[0] >= '0' && parameters.lease[0] <= '9';
    if (!is_number || !holder || lease_release(holder, id) < 0)
        answer_not_found(call, "lease", parameters.lease);
    else
        call_reply(call, NULL);
}
