/* Connections of libedgemind: making, renewing and ending them, and loading models over them.
 *
 * Invariant: every handle that was given out is in one of the connection's lists, and its memory is
 * mapped, until it is given back or the connection is freed. All of it is held over one connection,
 * or, while that is lost, nothing is. What layers and runs do is theirs. */
#include "client/library/edgemind.h"

#include "client/library/library.h"
#include "client/library/model_files.h"
#include "client/library/regular_file.h"
#include "client/library/socket_path.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <string.h>

enum {
    TRY_USEC = 10 * 1000 * 1000, /* for so long a lost connection is tried to be made again */
    PAUSE_FIRST_USEC = 5 * 1000,
    PAUSE_MAX_USEC = 500 * 1000
};

static const char why_lost[] = "the daemon no longer has it as it was acquired";

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

/* What has been had in place of a layer is not what it was, or nothing could be had. */
static int lose(struct edgemind *em, struct edgemind_layer *layer, const char *why)
{
    const char *name = layer->mapped.layer; /* NULL: of a run that had none */

    layer->is_lost = em->has_lost = true;
    return failure_set(&em->failure, -ESTALE, "%s%s%s of model %s is lost: %s",
                       name ? "layer " : "", name ? name : "the run",
                       name ? "" : " through the layers", layer->model, why);
}

static bool is_lost(const struct edgemind_layer *layer, bool look)
{
    const struct arena_range *range = &layer->mapped.range;

    if (layer->is_lost || !range->map)
        return layer->is_lost;
    return look ? arena_range_is_lost(range) : arena_map_is_lost(range->map);
}

int library_verify(struct edgemind_layer *layer)
{
    return is_lost(layer, true) ? lose(layer->em, layer, why_lost) : 0;
}

/* Whether something that is held is known to be lost; with `look` the arena is looked at, too. 0,
 * or -ESTALE that is kept. */
static int find_lost(struct edgemind *em, bool look)
{
    struct edgemind_layer *layer, *lost = NULL;
    struct edgemind_run *run;

    LIST_FOREACH (layer, &em->layers, entry) {
        if (is_lost(layer, look))
            lost = layer;
    }
    LIST_FOREACH (run, &em->runs, entry) {
        if (is_lost(&run->layer, look))
            lost = &run->layer;
    }
    em->has_lost = false;
    return lost ? lose(em, lost, why_lost) : 0;
}

/* `r` is what came of having `taken` in place of a layer. With `same` it must be the same bytes at
 * the same addresses, else the same tensors. 0, or a negative errno that is kept. */
static int verify(struct edgemind *em, struct edgemind_layer *layer, int r,
                  const struct mapped_layer *taken, bool same)
{
    /* A refusal says that the layer is not held, and cannot be, unless it is about the client. */
    if (r < 0 && same && (r == -ESTALE || (em->failure.name && r != -EDQUOT)))
        return lose(em, layer, failure_text(&em->failure));
    if (r < 0 || !taken->reply)
        return r;
    if (same && !mapped_layer_is_same(taken, &layer->mapped))
        return lose(em, layer, why_lost);
    if (!mapped_layer_is_like(taken, &layer->mapped))
        return failure_set(&em->failure, -ESTALE,
                           "layer %s of model %s is not what it was when it was acquired",
                           layer->mapped.layer, layer->model);
    return 0;
}

/* Has everything that is held over another connection as well: `taken` in the order of the lists.
 */
static int take_all(struct edgemind *em, struct channel *channel, struct library_taken *taken,
                    bool same)
{
    struct edgemind_layer *layer;
    struct edgemind_run *run;
    int r = 0;

    LIST_FOREACH (layer, &em->layers, entry) {
        r = channel_acquire(channel, layer->model, layer->mapped.layer, 0, layer->mapped.fill,
                            &em->failure, &taken->mapped);
        r = verify(em, layer, r, &taken++->mapped, same);
        if (r < 0)
            return r;
    }
    LIST_FOREACH (run, &em->runs, entry) {
        r = library_run_take(run, channel, taken);
        r = verify(em, &run->layer, r, &taken++->mapped, same);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Where the bytes are the same, all that was said of them stays where it is. */
static void replace(struct edgemind_layer *layer, struct mapped_layer *taken)
{
    layer->is_lost = false;
    if (!taken->reply)
        return;
    struct mapped_layer old = layer->mapped;
    if (mapped_layer_is_same(&old, taken)) {
        layer->mapped.lease = taken->lease;
        taken->lease = old.lease;
    } else {
        layer->mapped = *taken;
        *taken = old;
    }
}

static void replace_all(struct edgemind *em, struct channel *channel, struct library_taken *taken)
{
    struct edgemind_layer *layer;
    struct edgemind_run *run;

    LIST_FOREACH (layer, &em->layers, entry) {
        replace(layer, &taken++->mapped);
    }
    LIST_FOREACH (run, &em->runs, entry) {
        char *id = run->id;
        run->id = taken->run_id;
        taken->run_id = id;
        run->first_pass = run->pass;
        replace(&run->layer, &taken++->mapped);
    }
    em->has_lost = false;
    struct channel old = em->channel;
    em->channel = *channel;
    *channel = old;
}

/* Makes a new connection, on which everything is held that was. All or nothing. The old one ends
 * last: if it still has its leases, nothing is evicted meanwhile. 0, or a negative errno that is
 * kept. */
static int renew(struct edgemind *em, bool same)
{
    struct channel channel;
    const struct edgemind_layer *layer;
    const struct edgemind_run *run;
    size_t n = 0;
    bool has_layers = !LIST_EMPTY(&em->layers);

    LIST_FOREACH (layer, &em->layers, entry) {
        n++;
    }
    LIST_FOREACH (run, &em->runs, entry) {
        n++;
        has_layers |= run->layer.mapped.reply != NULL;
    }
    struct library_taken *taken = calloc(n + 1, sizeof *taken);
    if (!taken)
        return failure_set(&em->failure, -ENOMEM, "%s", strerror(ENOMEM));
    int r = channel_open(&channel, em->socket_path, em->timeout_usec,
                         has_layers ? em->channel.map : NULL, &em->failure);
    if (r == 0)
        r = take_all(em, &channel, taken, same);
    if (r == 0)
        replace_all(em, &channel, taken);
    for (size_t i = 0; i < n; i++) {
        mapped_layer_done(&taken[i].mapped);
        free(taken[i].run_id);
    }
    free(taken);
    channel_close(&channel);
    return r;
}

static void note_loss(struct edgemind *em)
{
    uint64_t usec = em->timeout_usec < TRY_USEC ? em->timeout_usec : TRY_USEC;

    if (em->try_until_usec == 0)
        em->try_until_usec = clock_monotonic_usec() + usec;
}

/* Before every try but the first. */
static void wait_a_little(struct edgemind *em)
{
    uint64_t now_usec = clock_monotonic_usec();
    uint64_t left_usec = em->try_until_usec > now_usec ? em->try_until_usec - now_usec : 0;
    uint64_t usec = em->pause_usec < left_usec ? em->pause_usec : left_usec;

    nanosleep(&(struct timespec){.tv_nsec = (long)usec * 1000}, NULL);
    em->pause_usec = em->pause_usec == 0                   ? PAUSE_FIRST_USEC
                     : em->pause_usec < PAUSE_MAX_USEC / 2 ? em->pause_usec * 2
                                                           : PAUSE_MAX_USEC;
}

/* What fails while a daemon ends and the next one begins: there is no socket, it is nobody's or not
 * yet everybody's, or it is hung up again. */
static bool may_pass(const struct edgemind *em, int r)
{
    return !em->failure.name && (r == -ENOENT || r == -ECONNREFUSED || r == -EACCES ||
                                 r == -ECONNRESET || r == -EPIPE || r == -ENODATA);
}

int library_ready(struct edgemind *em)
{
    bool is_cut = em->channel.map && arena_map_is_lost(em->channel.map);
    int r = 0;

    if (!em->channel.varlink)
        return channel_fail(&em->channel, &em->failure);
    if (em->has_lost || is_cut)
        r = find_lost(em, false);
    if (r < 0 || (em->channel.broken == 0 && !is_cut))
        return r;
    note_loss(em);
    do {
        wait_a_little(em);
        r = renew(em, true);
    } while (r < 0 && may_pass(em, r) && clock_monotonic_usec() < em->try_until_usec);
    return r;
}

bool library_again(struct edgemind *em, int r)
{
    if (r == 0 || r == -ESTALE || em->failure.name) /* the daemon has answered */
        em->try_until_usec = 0;
    else if (r == -ECONNRESET || r == -EPIPE || r == -ENODATA) {
        note_loss(em);
        if (clock_monotonic_usec() < em->try_until_usec)
            return true;
    }
    em->pause_usec = 0;
    return false;
}

int edgemind_reconnect(struct edgemind *em)
{
    if (!em->socket_path)
        return failure_set(&em->failure, -ENOTCONN, "never connected to a daemon");
    int r = renew(em, false);
    if (r == 0)
        em->try_until_usec = 0;
    return r;
}

int edgemind_check(struct edgemind *em)
{
    int r = em->channel.varlink ? find_lost(em, true) : 0;

    if (r == 0 && (!em->channel.varlink || channel_hung_up(&em->channel)))
        r = channel_fail(&em->channel, &em->failure);
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
    if (em->channel.varlink)
        channel_hung_up(&em->channel);
    r = library_ready(em);
    if (r == 0)
        r = channel_call(&em->channel, "LoadModel", parameters, files.fds, files.n_fds, &subject,
                         &em->failure, &reply);
    else
        json_decref(parameters);
    library_again(em, r); /* but not this: the daemon may have come to know the model */
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
