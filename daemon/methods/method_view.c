/* BeginView, UpdateView, EndView, WatchViews and Views. */
#include "daemon/methods/acquisition.h"
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"
#include "daemon/methods/view_watch.h"
#include "proto/interface.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct begin_parameters {
    const char *model, *program, *file;
    uint64_t bytes, outside_bytes;
};

static const struct field begin_fields[] = {
    {"model", FIELD_STRING, offsetof(struct begin_parameters, model), FIELD_REQUIRED},
    {"program", FIELD_STRING, offsetof(struct begin_parameters, program), FIELD_REQUIRED},
    {"file", FIELD_STRING, offsetof(struct begin_parameters, file)},
    {"bytes", FIELD_U64, offsetof(struct begin_parameters, bytes), FIELD_REQUIRED},
    {"outsideBytes", FIELD_U64, offsetof(struct begin_parameters, outside_bytes), FIELD_REQUIRED},
    {0},
};

static bool has_file(const struct model *model, const char *id)
{
    char text[WEIGHT_FILE_ID_MAX];

    for (uint32_t i = 0; i < model->definition->n_files; i++)
        if (strcmp(weight_file_id(&model->definition->files[i], text), id) == 0)
            return true;
    return false;
}

void method_begin_view(struct call *call, void *context)
{
    struct manager *manager = context;
    struct begin_parameters parameters = {0};
    struct model *model;

    if (!call_decode(call, begin_fields, &parameters) ||
        !(model = manager_find_model(manager, call, parameters.model)))
        return;
    if (parameters.file && !has_file(model, parameters.file)) {
        reply_not_found(call, "file", parameters.file);
        return;
    }
    if (strlen(parameters.program) > VIEW_PROGRAM_MAX) {
        call_invalid_parameter(call, "program");
        return;
    }
    if (parameters.outside_bytes > parameters.bytes) {
        call_invalid_parameter(call, "outsideBytes");
        return;
    }
    struct holder *holder = acquisition_find_holder(manager, call);
    struct client_view view = {.id = ++manager->leases.last_id,
                               .model = (char *)(uintptr_t)parameters.model,
                               .program = (char *)(uintptr_t)parameters.program,
                               .registration = model->registration,
                               .bytes = parameters.bytes,
                               .outside_bytes = parameters.outside_bytes};
    int r = holder ? holder_begin_view(holder, model, &view) : -ENOMEM;
    if (r == 0) {
        struct client_view *begun = client_view_find(&holder->views, view.id);
        if ((r = view_plan_join(&manager->view_plans, model, begun)) < 0)
            holder_end_view(holder, begun);
    }
    if (r == -EMFILE) {
        reply_limit(call, "views of a connection", VIEWS_PER_CONNECTION_MAX);
    } else if (r < 0) {
        call_io_failed(call, "view", r);
    } else {
        char id[24];
        events_on_view(manager->events, "view-begun", &view, &holder->peer, call_method(call));
        snprintf(id, sizeof id, "%" PRIu64, view.id);
        call_reply(call, json_pack("{s:s}", "view", id));
    }
}

void acquisition_report_views(const struct holder *holder)
{
    const struct client_view *view;
    LIST_FOREACH (view, &holder->views.list, entry) {
        events_on_view(holder->manager->events, "view-ended", view, &holder->peer, NULL);
    }
}

/* Returns NULL if the connection has no such view; it has then answered the call. */
static struct client_view *find_view(struct call *call, const char *id)
{
    struct holder *holder = call_connection_data(call);
    struct client_view *view =
        holder ? client_view_find(&holder->views, acquisition_parse_id(id)) : NULL;
    if (!view)
        reply_not_found(call, "view", id);
    return view;
}

enum { USED_NOTHING = 0xff };

struct update_parameters {
    const char *view, *used;
    uint64_t outside_bytes, used_from;
};

static const struct field update_fields[] = {
    {"view", FIELD_STRING, offsetof(struct update_parameters, view), FIELD_REQUIRED},
    {"outsideBytes", FIELD_U64, offsetof(struct update_parameters, outside_bytes), FIELD_REQUIRED},
    {"usedFrom", FIELD_U64, offsetof(struct update_parameters, used_from)},
    {"used", FIELD_STRING, offsetof(struct update_parameters, used)},
    {0},
};

static int digit_value(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

/* The value of two digits, or -1. */
static int used_value(const char *used)
{
    int high = digit_value(used[0]), low = high < 0 ? -1 : digit_value(used[1]);
    int value = low < 0 ? -1 : 16 * high + low;
    return value <= 100 || value == USED_NOTHING ? value : -1;
}

/* Takes what a view tells of the model's layers. Returns false, and takes nothing, if the text is
 * malformed. */
static bool take_used(struct model *model, uint64_t from, const char *used)
{
    size_t n = strnlen(used, 2 * USED_LAYERS_MAX + 1);

    if (n % 2 != 0 || n > 2 * USED_LAYERS_MAX || from > model->definition->n_layers ||
        n / 2 > model->definition->n_layers - from)
        return false;
    for (size_t i = 0; i < n; i += 2)
        if (used_value(used + i) < 0)
            return false;
    for (size_t i = 0; i < n; i += 2) {
        int value = used_value(used + i);
        if (value != USED_NOTHING)
            model->layers[from + i / 2].told_percent = (uint8_t)(value + 1);
    }
    return true;
}

void method_update_view(struct call *call, void *context)
{
    struct manager *manager = context;
    struct update_parameters parameters = {0};
    struct client_view *view;

    if (!call_decode(call, update_fields, &parameters) ||
        !(view = find_view(call, parameters.view)))
        return;
    if (parameters.outside_bytes > view->bytes) {
        call_invalid_parameter(call, "outsideBytes");
        return;
    }
    if (parameters.used) {
        struct model *model = scheduler_find_model(manager->scheduler, view->model);
        if (model && model->registration == view->registration &&
            !take_used(model, parameters.used_from, parameters.used)) {
            call_invalid_parameter(call, "used");
            return;
        }
    }
    client_view_set_outside(view, parameters.outside_bytes);
    call_reply(call, NULL);
}

struct one_view_parameters {
    const char *view;
};

static const struct field one_view_fields[] = {
    {"view", FIELD_STRING, offsetof(struct one_view_parameters, view), FIELD_REQUIRED},
    {0},
};

void method_end_view(struct call *call, void *context)
{
    struct one_view_parameters parameters = {0};
    struct manager *manager = context;

    if (!call_decode(call, one_view_fields, &parameters))
        return;
    struct client_view *view = find_view(call, parameters.view);
    if (!view)
        return;
    struct holder *holder = call_connection_data(call);
    events_on_view(manager->events, "view-ended", view, &holder->peer, call_method(call));
    holder_end_view(holder, view);
    call_reply(call, NULL);
}

/* The client's views that include this one, or NULL. A client is a process of a user. */
static struct client_views *find_views(struct manager *manager, const struct peer *peer,
                                       uint64_t id)
{
    struct holder *holder;

    LIST_FOREACH (holder, &manager->leases.holders, entry)
        if (holder->peer.uid == peer->uid && holder->peer.pid == peer->pid &&
            client_view_find(&holder->views, id))
            return &holder->views;
    return NULL;
}

void method_watch_views(struct call *call, void *context)
{
    struct one_view_parameters parameters = {0};

    if (!call_decode(call, one_view_fields, &parameters))
        return;
    if (!call_more(call)) {
        call_error(call, ERROR_EXPECTED_MORE, NULL);
        return;
    }
    struct client_views *views =
        find_views(context, call_peer(call), acquisition_parse_id(parameters.view));
    if (!views)
        reply_not_found(call, "view", parameters.view);
    else if (view_watch_begin(views, call) < 0)
        call_io_failed(call, "watch", -ENOMEM);
}

struct view_row {
    const char *program, *user, *model;
    uint64_t uid, pid, bytes, outside_bytes, held_bytes, n_faults, n_hits, read_bytes;
    char user_text[24];
};

static const struct field view_fields[] = {
    {"program", FIELD_STRING, offsetof(struct view_row, program)},
    {"user", FIELD_STRING, offsetof(struct view_row, user)},
    {"uid", FIELD_U64, offsetof(struct view_row, uid)},
    {"pid", FIELD_U64, offsetof(struct view_row, pid)},
    {"model", FIELD_STRING, offsetof(struct view_row, model)},
    {"bytes", FIELD_U64, offsetof(struct view_row, bytes)},
    {"outsideBytes", FIELD_U64, offsetof(struct view_row, outside_bytes)},
    {"heldBytes", FIELD_U64, offsetof(struct view_row, held_bytes)},
    {"faults", FIELD_U64, offsetof(struct view_row, n_faults)},
    {"hits", FIELD_U64, offsetof(struct view_row, n_hits)},
    {"readBytes", FIELD_U64, offsetof(struct view_row, read_bytes)},
    {0},
};

struct views_reply {
    struct field_array views;
    uint64_t total;
};

static const struct field reply_fields[] = {
    {"views", FIELD_OBJECTS, offsetof(struct views_reply, views), 0, view_fields},
    {"total", FIELD_U64, offsetof(struct views_reply, total)},
    {0},
};

static void describe_view(const struct client_view *view, const struct peer *peer,
                          struct view_row *row)
{
    *row = (struct view_row){.program = view->program,
                             .user = row->user_text,
                             .model = view->model,
                             .uid = peer->uid,
                             .pid = (uint64_t)peer->pid,
                             .bytes = view->bytes,
                             .outside_bytes = view->outside_bytes,
                             .held_bytes = view->held_bytes,
                             .n_faults = view->n_faults,
                             .n_hits = view->n_hits,
                             .read_bytes = view->read_bytes};
    snprintf(row->user_text, sizeof row->user_text, "%u", (unsigned)peer->uid);
}

void method_views(struct call *call, void *context)
{
    struct manager *manager = context;
    const struct holder *holder;
    const struct client_view *view;
    size_t n = 0;

    if (!call_decode(call, call_no_parameters, NULL))
        return;
    struct view_row *rows = calloc(REPLY_ELEMENTS_MAX, sizeof *rows);
    if (!rows) {
        call_io_failed(call, "list", -ENOMEM);
        return;
    }
    struct views_reply reply = {0};
    LIST_FOREACH (holder, &manager->leases.holders, entry) {
        LIST_FOREACH (view, &holder->views.list, entry)
            if (reply.total++ < REPLY_ELEMENTS_MAX)
                describe_view(view, &holder->peer, &rows[n++]);
    }
    reply.views = (struct field_array){rows, n, sizeof *rows};
    call_reply_fields(call, reply_fields, &reply);
    free(rows);
}
