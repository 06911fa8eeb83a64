/* The functions of edgemind.h for a whole connection: they make it, end it, check it, and load
 * models. library_layer.c and library_run.c have the functions for layers and runs. */
#include "client/library/edgemind.h"

#include "client/library/connection.h"
#include "client/library/model_files.h"
#include "client/library/model_folder.h"
#include "client/library/regular_file.h"
#include "client/library/socket_path.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/utf8.h"

#include <errno.h>
#include <string.h>

struct edgemind *edgemind_new(void)
{
    struct edgemind *em = calloc(1, sizeof *em);

    if (!em)
        return NULL;
    em->timeout_usec = VARLINK_FOREVER;
    em->channel = CHANNEL_CLOSED;
    LIST_INIT(&em->layers);
    LIST_INIT(&em->runs);
    return em;
}

void edgemind_free(struct edgemind *em)
{
    if (!em)
        return;
    while (!LIST_EMPTY(&em->layers))
        connection_free_layer(LIST_FIRST(&em->layers));
    while (!LIST_EMPTY(&em->runs))
        connection_free_run(LIST_FIRST(&em->runs));
    channel_close(&em->channel);
    last_error_done(&em->last_error);
    free(em->socket_path);
    free(em);
}

int edgemind_connect(struct edgemind *em, const char *socket_path)
{
    int r = connection_check_process(em);
    if (r < 0)
        return r;
    if (em->channel.varlink)
        return last_error_set(&em->last_error, -EISCONN, "connected already");
    free(em->socket_path);
    em->socket_path = socket_path_find(socket_path);
    if (!em->socket_path)
        return last_error_set(&em->last_error, -ENOMEM, "%s", strerror(ENOMEM));
    return channel_open(&em->channel, em->socket_path, em->timeout_usec, NULL, &em->last_error);
}

const char *edgemind_socket_path(const struct edgemind *em)
{
    return em->socket_path;
}

void edgemind_set_timeout(struct edgemind *em, uint64_t timeout_usec)
{
    em->timeout_usec = timeout_usec;
    if (em->channel.varlink)
        varlink_set_timeout(em->channel.varlink, timeout_usec);
}

int edgemind_reconnect(struct edgemind *em)
{
    if (!em->socket_path)
        return last_error_set(&em->last_error, -ENOTCONN, "never connected to a daemon");
    int r = connection_check_process(em);
    if (r == 0)
        r = connection_renew(em, false);
    if (r == 0)
        em->try_until_usec = 0;
    return r;
}

int edgemind_check(struct edgemind *em)
{
    int r = connection_check_process(em);
    if (r < 0)
        return r;
    r = em->channel.varlink ? connection_find_lost(em, true) : 0;

    if (r == 0 && (!em->channel.varlink || channel_hung_up(&em->channel)))
        r = channel_fail(&em->channel, &em->last_error);
    return r;
}

/* Keeps a failure to open the model's files, with a text. */
static int fail_to_open(struct edgemind *em, const char *path,
                        const struct model_files_failure *failed, int error)
{
    const char *text = error == -EINVAL ? "it is no regular file" : strerror(-error);

    if (failed->named)
        return last_error_set(&em->last_error, error,
                              "%s names the weight file %s, but cannot read %s: %s", path,
                              failed->named, failed->path ? failed->path : "it", text);
    return last_error_set(&em->last_error, error, "cannot read %s: %s",
                          failed->path ? failed->path : path, text);
}

static int open_files(struct edgemind *em, const char *path, const char *name,
                      struct model_files *files)
{
    _cleanup_(model_files_failure_done) struct model_files_failure failed = {0};
    _cleanup_(freep) char *inside = NULL;
    int fd = regular_file_open(path);
    bool is_folder = fd == -EISDIR;

    if (is_folder)
        fd = model_folder_open(path, &inside);
    if (is_folder && (fd == -ENOENT || fd == -EMLINK))
        return last_error_set(&em->last_error, fd,
                              fd == -ENOENT ? "the folder %s has no weights in it%s"
                                            : "the folder %s has several models in it (%s)",
                              path, inside);
    int r = fd < 0 ? fd : model_files_open(inside ? inside : path, fd, is_folder, files, &failed);

    if (r < 0)
        return fail_to_open(em, inside ? inside : path, &failed, r);
    r = name ? model_files_set_name(files, name) : 0;
    if (r == -EINVAL)
        return last_error_set(
            &em->last_error, r,
            "%s is a definition, which has the model's name in it, so there can be "
            "no other",
            path);
    return r < 0 ? last_error_set(&em->last_error, r, "%s", strerror(-r)) : 0;
}

int edgemind_load(struct edgemind *em, const char *path, const char *name, const char *on_full,
                  char *ret_model)
{
    _cleanup_(model_files_done) struct model_files files = {0};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    int r = connection_check_process(em);
    if (r == 0 && on_full && !utf8_is_valid(on_full))
        r = last_error_set(&em->last_error, -EINVAL, "on_full is not valid UTF-8");
    if (r == 0)
        r = open_files(em, path, name, &files);
    if (r < 0)
        return r;
    const struct error_subject subject = {.file = path, .model = files.name};
    json_t *parameters = json_object();
    if ((on_full && json_object_set_new(parameters, "onFull", json_string(on_full)) < 0) ||
        model_files_describe(&files, parameters) < 0) {
        json_decref(parameters);
        parameters = NULL;
    }
    if (em->channel.varlink)
        channel_hung_up(&em->channel);
    r = connection_ready(em);
    if (r == 0)
        r = channel_call(&em->channel, "LoadModel", parameters, files.fds, files.n_fds, &subject,
                         &em->last_error, &reply);
    else
        json_decref(parameters);
    connection_again(em, r); /* the load is not repeated: the daemon may know the model now */
    if (r < 0 || !ret_model)
        return r;
    const char *model = json_string_value(json_object_get(reply.parameters, "model"));
    size_t n_bytes = model ? strlen(model) : SIZE_MAX;
    if (n_bytes > EDGEMIND_NAME_MAX)
        return last_error_set(&em->last_error, -EBADMSG,
                              "the daemon's reply does not name the model");
    memcpy(ret_model, model, n_bytes + 1);
    return 0;
}

const char *edgemind_error_name(const struct edgemind *em)
{
    return em->last_error.name;
}

const char *edgemind_error_parameters(const struct edgemind *em)
{
    return em->last_error.parameters;
}

const char *edgemind_error_text(const struct edgemind *em)
{
    return em ? last_error_text(&em->last_error) : strerror(ENOMEM);
}
