/* FindModel: tells a client that has only a descriptor of a weight file which model the file
 * belongs to, and which of its bytes belong to which layer.
 *
 * The replies are sent as fast as the client reads them. Between two replies the position is kept
 * as a name and numbers, because models may come and go. Nothing here waits for a file server. */
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

enum { PIECES_A_REPLY = 100 }; /* a program that maps a file parses them in its own memory */

struct finding {
    struct manager *manager;
    struct call *call;
    char *model;
    uint64_t registration;
    uint32_t source;
    uint32_t layer, piece; /* the next ones to list */
};

struct file_piece_row {
    const char *layer;
    uint64_t file_offset_bytes, n_bytes;
    bool kept;
    uint64_t index;
};

static const struct field file_piece_fields[] = {
    {"layer", FIELD_STRING, offsetof(struct file_piece_row, layer)},
    {"fileOffset", FIELD_U64, offsetof(struct file_piece_row, file_offset_bytes)},
    {"length", FIELD_U64, offsetof(struct file_piece_row, n_bytes)},
    {"kept", FIELD_BOOL, offsetof(struct file_piece_row, kept)},
    {"index", FIELD_U64, offsetof(struct file_piece_row, index)},
    {0},
};

struct find_reply {
    const char *model, *file;
    uint64_t source;
    struct field_array pieces;
};

static const struct field reply_fields[] = {
    {"model", FIELD_STRING, offsetof(struct find_reply, model)},
    {"source", FIELD_U64, offsetof(struct find_reply, source)},
    {"file", FIELD_STRING, offsetof(struct find_reply, file)},
    {"pieces", FIELD_OBJECTS, offsetof(struct find_reply, pieces), 0, file_piece_fields},
    {0},
};

/* Returns false when there are no more pieces. */
static bool next_piece(struct finding *finding, const struct model *model,
                       struct file_piece_row *ret)
{
    for (; finding->layer < model->definition->n_layers; finding->layer++, finding->piece = 0) {
        const struct layer_definition *layer = &model->definition->layers[finding->layer];
        while (finding->piece < layer->n_pieces) {
            const struct piece *piece = &layer->pieces[finding->piece++];
            if (piece->source != finding->source)
                continue;
            *ret = (struct file_piece_row){layer->name, piece->file_offset_bytes, piece->bytes,
                                           layer_is_kept(&model->layers[finding->layer]),
                                           finding->layer};
            return true;
        }
    }
    return false;
}

static void finding_free(struct finding *finding)
{
    free(finding->model);
    free(finding);
}

/* Sends replies until the last one, which frees the finding, or until the client falls behind. */
static void proceed(struct finding *finding)
{
    for (bool last = false; !last;) {
        struct model *model = manager_find_model(finding->manager, finding->call, finding->model);
        if (!model)
            break;
        if (model->registration != finding->registration) {
            reply_not_found(finding->call, "model", finding->model);
            break;
        }
        char file[WEIGHT_FILE_ID_MAX];
        struct file_piece_row rows[PIECES_A_REPLY];
        size_t n = 0;
        while (n < PIECES_A_REPLY && !last) {
            if (next_piece(finding, model, &rows[n]))
                n++;
            else
                last = true;
        }
        struct find_reply reply = {
            .model = finding->model,
            .file = weight_file_id(&model->definition->files[finding->source], file),
            .source = finding->source,
            .pieces = {rows, n, sizeof *rows}};
        if (last)
            call_reply_fields(finding->call, reply_fields, &reply);
        else
            call_continue_fields(finding->call, reply_fields, &reply);
        if (!last && !call_may_continue(finding->call))
            return;
    }
    finding_free(finding);
}

static void cancelled(void *context)
{
    finding_free(context);
}

static void drained(void *context)
{
    proceed(context);
}

/* Returns NULL if the file belongs to no model. */
static const struct model *find_source(const struct scheduler *scheduler,
                                       const struct weight_file_look *look, uint32_t *ret_source)
{
    for (const struct model *model = scheduler_first_model(scheduler); model; model = model->next)
        for (uint32_t i = 0; i < model->definition->n_files; i++)
            if (weight_file_is_same(&model->definition->files[i], look)) {
                *ret_source = i;
                return model;
            }
    return NULL;
}

struct find_parameters {
    uint64_t fd_index;
};

static const struct field parameter_fields[] = {
    {"fileDescriptor", FIELD_U64, offsetof(struct find_parameters, fd_index), FIELD_REQUIRED},
    {0},
};

void method_find_model(struct call *call, void *context)
{
    static const struct call_hooks hooks = {cancelled, drained};
    struct manager *manager = context;
    struct find_parameters parameters;
    struct weight_file_look look;
    uint32_t source;

    if (!call_decode(call, parameter_fields, &parameters))
        return;
    if (!call_more(call)) {
        call_error(call, ERROR_EXPECTED_MORE, NULL);
        return;
    }
    int fd = call_fd(call, parameters.fd_index);
    if (fd < 0) {
        call_invalid_parameter(call, "fileDescriptor");
        return;
    }
    int r = weight_file_look(fd, &look);
    if (r < 0) {
        call_io_failed(call, "examine", r);
        return;
    }
    const struct model *model = find_source(manager->scheduler, &look, &source);
    if (!model) {
        reply_not_found(call, "file", "");
        return;
    }
    const struct weight_file *file = &model->definition->files[source];
    if (!weight_file_is_intact(file, &look)) {
        call_error(call, ERROR_SOURCE_CHANGED, json_pack("{s:s}", "path", file->path));
        return;
    }
    struct finding *finding = calloc(1, sizeof *finding);
    char *name = strdup(model->definition->name);
    if (!finding || !name) {
        free(finding);
        free(name);
        call_io_failed(call, "find", -ENOMEM);
        return;
    }
    *finding = (struct finding){.manager = manager,
                                .call = call,
                                .model = name,
                                .registration = model->registration,
                                .source = source};
    call_set_hooks(call, &hooks, finding);
    proceed(finding);
}
