/* Connections of libedgemind: making, renewing and ending them, and loading models over them.
 *
 * Invariant: every handle that was given out is in one of the connection's lists, and its memory is
 * mapped, until it is given back or the connection is freed. What layers and runs do is theirs. */
#include "client/edgemind.h"

#include "client/library.h"
#include "client/model_files.h"
#include "client/regular_file.h"
#include "client/socket_path.h"
#include "common/cleanup.h"

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
        library_layer_free(LIST_FIRST(&em->layers));
    while (!LIST_EMPTY(&em->runs))
        library_run_free(LIST_FIRST(&em->runs));
    channel_close(&em->channel);
    failure_done(&em->failure);
    free(em->socket_path);
    free(em);
}

int edgemind_connect(struct edgemind *em, const char *socket_path)
{
    if (em->channel.varlink)
        return failure_set(&em->failure, -EISCONN, "connected already");
    free(em->socket_path);
    em->socket_path = socket_path_find(socket_path);
    if (!em->socket_path)
        return failure_set(&em->failure, -ENOMEM, "%s", strerror(ENOMEM));
    return channel_open(&em->channel, em->socket_path, em->timeout_usec, NULL, &em->failure);
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

/* Acquires what is held over another connection: `taken` in the order of em->layers. */
static int acquire_again(struct edgemind *em, struct channel *channel, struct mapped_layer *taken)
{
    const struct edgemind_layer *layer;
    size_t n = 0;

    LIST_FOREACH (layer, &em->layers, entry) {
        const char *name = layer->mapped.layer;
        int r = channel_acquire(channel, layer->model, name, 0, &em->failure, &taken[n]);
        if (r < 0)
            return r;
        if (!mapped_layer_is_like(&taken[n++], &layer->mapped))
            return failure_set(&em->failure, -ESTALE,
                               "layer %s of model %s is not what it was when it was acquired", name,
                               layer->model);
    }
    return 0;
}

int edgemind_reconnect(struct edgemind *em)
{
    struct channel channel;
    struct edgemind_layer *layer;
    struct edgemind_run *run;
    size_t n_layers = 0;

    if (!em->socket_path)
        return failure_set(&em->failure, -ENOTCONN, "never connected to a daemon");
    LIST_FOREACH (layer, &em->layers, entry) {
        n_layers++;
    }
    struct mapped_layer *taken = calloc(n_layers + 1, sizeof *taken);
    if (!taken)
        return failure_set(&em->failure, -ENOMEM, "%s", strerror(ENOMEM));

    /* The old connection ends last: if it still has its leases, nothing is evicted meanwhile. */
    int r = channel_open(&channel, em->socket_path, em->timeout_usec,
                         n_layers > 0 ? em->channel.map : NULL, &em->failure);
    if (r == 0)
        r = acquire_again(em, &channel, taken);
    if (r == 0) {
        struct mapped_layer *next = taken;
        LIST_FOREACH (layer, &em->layers, entry) {
            struct mapped_layer old = layer->mapped;
            layer->mapped = *next;
            *next++ = old;
        }
        LIST_FOREACH (run, &em->runs, entry) {
            library_run_lost(run);
        }
        struct channel old = em->channel;
        em->channel = channel;
        channel = old;
    }
    for (size_t i = 0; i < n_layers; i++)
        mapped_layer_done(&taken[i]);
    free(taken);
    channel_close(&channel);
    return r;
}

/* The files' failure in words. */
static int fail_to_open(struct edgemind *em, const char *path,
                        const struct model_files_failure *failed, int error)
{
    const char *text = error == -EINVAL ? "it is no regular file" : strerror(-error);

    if (failed->named)
        return failure_set(&em->failure, error,
                           "%s names the weight file %s, but cannot read %s: %s", path,
                           failed->named, failed->path ? failed->path : "it", text);
    return failure_set(&em->failure, error, "cannot read %s: %s", path, text);
}

static int open_files(struct edgemind *em, const char *path, const char *name,
                      struct model_files *files)
{
    _cleanup_(model_files_failure_done) struct model_files_failure failed = {0};
    int fd = regular_file_open(path);
    int r = fd < 0 ? fd : model_files_open(path, fd, files, &failed);

    if (r < 0)
        return fail_to_open(em, path, &failed, r);
    r = name ? model_files_set_name(files, name) : 0;
    if (r == -EINVAL)
        return failure_set(&em->failure, r,
                           "%s is a definition, which has the model's name in it, so there can be "
                           "no other",
                           path);
    return r < 0 ? failure_set(&em->failure, r, "%s", strerror(-r)) : 0;
}

int edgemind_load(struct edgemind *em, const char *path, const char *name, const char *on_full,
                  char *ret_model)
{
    _cleanup_(model_files_done) struct model_files files = {0};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    int r = open_files(em, path, name, &files);
    if (r < 0)
        return r;
    const struct failure_subject subject = {.file = path, .model = files.name};
    json_t *parameters = json_pack("{s:s*}", "onFull", on_full);
    if (parameters && model_files_describe(&files, parameters) < 0) {
        json_decref(parameters);
        parameters = NULL;
    }
    r = channel_call(&em->channel, "LoadModel", parameters, files.fds, files.n_fds, &subject,
                     &em->failure, &reply);
    if (r < 0 || !ret_model)
        return r;
    const char *model = json_string_value(json_object_get(reply.parameters, "model"));
    size_t n_bytes = model ? strlen(model) : SIZE_MAX;
    if (n_bytes > EDGEMIND_NAME_MAX)
        return failure_set(&em->failure, -EBADMSG, "the daemon's reply does not name the model");
    memcpy(ret_model, model, n_bytes + 1);
    return 0;
}

int library_check_wait(struct edgemind *em, uint64_t wait_usec)
{
    return wait_usec <= EDGEMIND_WAIT_USEC_MAX
               ? 0
               : failure_set(&em->failure, -EINVAL, "a wait is at most 60 s long");
}

const char *edgemind_error_name(const struct edgemind *em)
{
    return em->failure.name;
}

const char *edgemind_error_parameters(const struct edgemind *em)
{
    return em->failure.parameters;
}

const char *edgemind_error_text(const struct edgemind *em)
{
    return em ? failure_text(&em->failure) : strerror(ENOMEM);
}
