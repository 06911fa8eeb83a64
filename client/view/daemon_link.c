/* The caller owns each reply. If the interface does not describe a reply, the connection is closed.
 */
#include "client/view/daemon_link.h"

#include "client/library/socket_path.h"
#include "common/arena_locks.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/utf8.h"
#include "proto/interface.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

enum {
    CONNECT_USEC = 5 * 1000 * 1000,
    ANSWER_USEC = 30 * 1000 * 1000, /* the daemon may be stopped, for instance */
    PROGRAM_MAX = 255
};

int daemon_link_connect(struct varlink **ret)
{
    _cleanup_(freep) char *path = socket_path_find(NULL);
    if (!path)
        return -ENOMEM;
    int r = varlink_connect(path, CONNECT_USEC, ret);
    if (r == 0)
        varlink_set_timeout(*ret, ANSWER_USEC);
    return r == 0 || r == -ENOMEM ? r : r == -EACCES || r == -EPERM ? -EACCES : -ENOTCONN;
}

int daemon_link_open(struct daemon_link *link)
{
    int r = daemon_link_connect(&link->varlink);
    if (r == 0) {
        link->serial++;
        link->has_answered = false;
    }
    return r;
}

void daemon_link_close(struct daemon_link *link)
{
    link->varlink = varlink_free(link->varlink);
}

bool daemon_link_arena_is_emptied(const struct daemon_link *link)
{
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = ARENA_LOCK_EMPTYING, .l_len = 1};
    return link->arena_fd >= 0 && fcntl(link->arena_fd, F_OFD_GETLK, &lock) == 0 &&
           lock.l_type != F_UNLCK;
}

void daemon_link_forget_arena(struct daemon_link *link)
{
    closep(&link->arena_fd);
    link->arena_fd = -1;
}

static int lose(struct daemon_link *link)
{
    daemon_link_close(link);
    return -EPIPE;
}

static int take_arena(struct daemon_link *link, struct varlink_reply *reply)
{
    const json_t *index = json_object_get(reply->parameters, "arenaFileDescriptor");
    struct file_id arena;

    if (!json_is_integer(index) || json_integer_value(index) < 0)
        return link->arena_fd >= 0 ? 0 : -EBADMSG;
    int fd = varlink_reply_take_fd(reply, (uint64_t)json_integer_value(index));
    if (fd < 0 || !file_id_read(fd, &arena)) {
        closep(&fd);
        return -EBADMSG;
    }
    closep(&link->arena_fd);
    link->arena_fd = fd;
    link->arena = arena;
    return 0;
}

static int refusal(const char *name)
{
    if (strcmp(name, MANAGER_INTERFACE ".Busy") == 0)
        return -EBUSY;
    if (strcmp(name, MANAGER_INTERFACE ".SourceChanged") == 0 ||
        strcmp(name, MANAGER_INTERFACE ".IOFailed") == 0)
        return -ESTALE;
    if (strcmp(name, "org.varlink.service.PermissionDenied") == 0)
        return -EACCES;
    return strcmp(name, MANAGER_INTERFACE ".NotFound") == 0 ? -ENOENT : -EREMOTEIO;
}

static bool is_declared(const struct daemon_link *link, const struct view *view)
{
    return view->id && view->declared == link->serial;
}

/* Takes ownership of `parameters`; NULL: there was no memory for them. Returns -ENOMEM if nothing
 * was sent. */
static int send_call(struct daemon_link *link, const char *method, json_t *parameters,
                     enum varlink_flags flags)
{
    int r = parameters ? varlink_send(link->varlink, method, parameters, flags, NULL, 0) : -ENOMEM;

    json_decref(parameters);
    return r == 0 || r == -ENOMEM ? r : lose(link);
}

/* Waits for the first answer. A daemon that starts may wait for this process before it answers, or
 * the service manager may listen, but no daemon answer. */
static bool is_answering(const struct daemon_link *link)
{
    enum { LOOK_MSEC = 20 };
    struct pollfd fd = {.fd = varlink_fd(link->varlink), .events = POLLIN};
    uint64_t begin_usec = clock_monotonic_usec();

    while (poll(&fd, 1, LOOK_MSEC) == 0)
        if (daemon_link_arena_is_emptied(link) ||
            clock_monotonic_usec() - begin_usec > link->grace_usec)
            return false;
    return true;
}

static int call(struct daemon_link *link, const char *method, json_t *parameters,
                struct varlink_reply *ret)
{
    int r = send_call(link, method, parameters, 0);
    if (r == 0 && !link->has_answered && !is_answering(link))
        r = lose(link);
    link->has_answered = true;
    if (r == 0 && varlink_receive(link->varlink, ret) < 0)
        r = lose(link);
    return r;
}

int daemon_link_declare(struct daemon_link *link, struct view *view)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    char program[PROGRAM_MAX + 1];
    uint64_t outside_bytes = view_outside_bytes(view);

    if (view->declared == link->serial)
        return 0;
    snprintf(program, sizeof program, "%s", program_invocation_short_name);
    json_t *parameters = json_pack("{s:s, s:o, s:I, s:I, s:s}", "model", view->model, "program",
                                   json_string(utf8_is_valid(program) ? program : "?"), "bytes",
                                   (json_int_t)view->n_bytes, "outsideBytes",
                                   (json_int_t)outside_bytes, "file", view->file_id);
    int r = call(link, MANAGER_INTERFACE ".BeginView", parameters, &reply);
    if (r < 0)
        return r;
    json_t *id = json_object_get(reply.parameters, "view");
    json_decref(view->id);
    view->id = !reply.error && json_is_string(id) ? json_incref(id) : NULL;
    view->declared = link->serial;
    view->told_outside_bytes = outside_bytes;
    return 0;
}

static int send_oneway(struct daemon_link *link, const char *method, json_t *parameters)
{
    int r = send_call(link, method, parameters, VARLINK_ONEWAY);

    if (r == 0 && varlink_flush(link->varlink) < 0)
        lose(link);
    return r == -ENOMEM ? r : 0;
}

int daemon_link_update_view(struct daemon_link *link, struct view *view)
{
    uint64_t outside_bytes = view_outside_bytes(view);

    if (!link->varlink || !is_declared(link, view) || view->told_outside_bytes == outside_bytes)
        return 0;
    int r = send_oneway(
        link, MANAGER_INTERFACE ".UpdateView",
        json_pack("{s:O, s:I}", "view", view->id, "outsideBytes", (json_int_t)outside_bytes));
    if (r == 0)
        view->told_outside_bytes = outside_bytes;
    return r;
}

int daemon_link_tell_uses(struct daemon_link *link, struct view *view, uint32_t from,
                          const char *used)
{
    if (!link->varlink || !is_declared(link, view))
        return 0;
    return send_oneway(link, MANAGER_INTERFACE ".UpdateView",
                       json_pack("{s:O, s:I, s:I, s:s}", "view", view->id, "outsideBytes",
                                 (json_int_t)view->told_outside_bytes, "usedFrom", (json_int_t)from,
                                 "used", used));
}

int daemon_link_end_view(struct daemon_link *link, const struct view *view)
{
    if (!link->varlink || !is_declared(link, view))
        return 0;
    return send_oneway(link, MANAGER_INTERFACE ".EndView", json_pack("{s:O}", "view", view->id));
}

int daemon_link_ask(struct daemon_link *link, const struct view *view, const char *layer,
                    const char *next, uint64_t wait_usec, json_int_t fill, bool is_ahead)
{
    json_t *parameters = json_pack("{s:s, s:s, s:I, s:O}", "model", view->model, "layer", layer,
                                   "waitUsec", (json_int_t)wait_usec, "view", view->id);
    if (parameters &&
        ((fill > 0 && json_object_set_new(parameters, "fill", json_integer(fill)) < 0) ||
         (next && json_object_set_new(parameters, "next", json_string(next)) < 0) ||
         (is_ahead && json_object_set_new(parameters, "ahead", json_true()) < 0))) {
        json_decref(parameters);
        return -ENOMEM;
    }
    return send_call(link, MANAGER_INTERFACE ".Acquire", parameters, 0);
}

int daemon_link_receive(struct daemon_link *link, json_t **ret)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    if (varlink_receive(link->varlink, &reply) < 0)
        return lose(link);
    if (reply.error)
        return refusal(reply.error);
    if (take_arena(link, &reply) < 0)
        return lose(link);
    *ret = json_incref(reply.parameters);
    return 0;
}

int daemon_link_acquire(struct daemon_link *link, struct view *view, const char *layer,
                        uint64_t wait_usec, json_int_t fill, json_t **ret)
{
    int r = daemon_link_declare(link, view);
    if (r == 0)
        r = view->id ? daemon_link_ask(link, view, layer, NULL, wait_usec, fill, false) : -ENOENT;
    return r < 0 ? r : daemon_link_receive(link, ret);
}

int daemon_link_release(struct daemon_link *link, json_t *lease)
{
    if (!link->varlink)
        return 0;
    return send_oneway(link, MANAGER_INTERFACE ".Release", json_pack("{s:O}", "lease", lease));
}

static int add_pieces(struct view *view, json_t *reply)
{
    const char *model, *file;
    json_int_t source;
    json_t *rows, *row;
    size_t i;

    int r = json_read(reply, "{s:s, s:s, s:I, s:o}", "model", &model, "file", &file, "source",
                      &source, "pieces", &rows);
    if (r < 0 || source < 0)
        return r < 0 ? r : -EBADMSG;
    if (!view->model) {
        view->model = strdup(model);
        view->file_id = strdup(file);
        view->source = (uint64_t)source;
    }
    if (!view->model || !view->file_id)
        return -ENOMEM;
    json_array_foreach (rows, i, row) {
        const char *layer;
        json_int_t index, offset, length;
        r = json_read(row, "{s:s, s:I, s:I, s:I}", "layer", &layer, "index", &index, "fileOffset",
                      &offset, "length", &length);
        if (r == 0 && (index < 0 || index > UINT32_MAX || offset < 0 || length <= 0))
            r = -EBADMSG;
        if (r == 0)
            r = unit_table_add(&view->table, layer, (uint32_t)index, (uint64_t)offset,
                               (uint64_t)length);
        if (r < 0)
            return r;
    }
    return 0;
}

int daemon_link_find_model(int fd, struct view *view)
{
    _cleanup_(varlink_freep) struct varlink *varlink = NULL;
    bool continues = true;

    int r = daemon_link_connect(&varlink);
    if (r < 0)
        return r;
    json_t *parameters = json_pack("{s:i}", "fileDescriptor", 0);
    r = parameters ? varlink_send(varlink, MANAGER_INTERFACE ".FindModel", parameters, VARLINK_MORE,
                                  &fd, 1)
                   : -ENOMEM;
    json_decref(parameters);
    while (r == 0 && continues) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = varlink_receive(varlink, &reply);
        if (r < 0 && r != -ENOMEM)
            r = -ENOTCONN;
        if (r == 0 && reply.error)
            r = refusal(reply.error);
        if (r == 0)
            r = add_pieces(view, reply.parameters);
        continues = reply.continues;
    }
    return r == 0 ? unit_table_seal(&view->table) : r;
}
