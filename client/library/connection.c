/* Renews a lost connection, with all its leases and runs.
 *
 * Invariant: one connection has all leases and runs; while it is lost, there are none. */
#include "client/library/connection.h"

#include "client/library/run_calls.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <string.h>

enum {
    TRY_USEC = 10 * 1000 * 1000, /* how long the library tries to renew a lost connection */
    PAUSE_FIRST_USEC = 5 * 1000,
    PAUSE_MAX_USEC = 500 * 1000
};

static const char why_lost[] = "the daemon no longer has it as it was acquired";

/* What was acquired for a handle over the new connection. */
struct taken {
    char *run_id; /* NULL: for a layer */
    struct mapped_layer mapped;
};

void connection_free_layer(struct edgemind_layer *layer)
{
    LIST_REMOVE(layer, entry);
    mapped_layer_done(&layer->mapped);
    json_decref(layer->units);
    free(layer->model);
    free(layer);
}

void connection_free_run(struct edgemind_run *run)
{
    LIST_REMOVE(run, entry);
    mapped_layer_done(&run->layer.mapped);
    free(run->layer.model);
    free(run->id);
    free(run);
}

/* The daemon gave other bytes for a held layer, or refused it. */
static int lose(struct edgemind *em, struct edgemind_layer *layer, const char *why)
{
    const char *name = layer->mapped.layer; /* NULL: for a run that held no layer */

    layer->is_lost = em->has_lost = true;
    return last_error_set(&em->last_error, -ESTALE, "%s%s%s of model %s is lost: %s",
                          name ? "layer " : "", name ? name : "the run",
                          name ? "" : " through the layers", layer->model, why);
}

static bool is_lost(const struct edgemind_layer *layer, bool look)
{
    return layer->is_lost || mapped_layer_is_lost(&layer->mapped, look);
}

int connection_verify(struct edgemind_layer *layer)
{
    return is_lost(layer, true) ? lose(layer->em, layer, why_lost) : 0;
}

int connection_find_lost(struct edgemind *em, bool look)
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

/* Checks `taken`, which was acquired for a held layer; `r` is the result of that call. With `same`,
 * `taken` must have the same bytes at the same addresses; otherwise it must have the same tensors.
 * 0, or a negative errno that is kept. */
static int verify(struct edgemind *em, struct edgemind_layer *layer, int r,
                  const struct mapped_layer *taken, bool same)
{
    /* If the daemon refuses a layer, the layer is lost, unless the refusal is about the client. */
    if (r < 0 && same && (r == -ESTALE || (em->last_error.name && r != -EDQUOT)))
        return lose(em, layer, last_error_text(&em->last_error));
    if (r < 0 || !taken->reply)
        return r;
    if (same && !mapped_layer_is_same(taken, &layer->mapped))
        return lose(em, layer, why_lost);
    if (!mapped_layer_is_like(taken, &layer->mapped))
        return last_error_set(&em->last_error, -ESTALE,
                              "layer %s of model %s is not what it was when it was acquired",
                              layer->mapped.layer, layer->model);
    return 0;
}

static int take_run(struct edgemind_run *run, struct channel *channel, struct taken *ret)
{
    struct last_error *last_error = &run->em->last_error;
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    uint64_t n_layers, index, pass;
    bool hit;

    int r =
        run_calls_begin(channel, last_error, run->layer.model, run->index, &ret->run_id, &n_layers);
    if (r == 0 && n_layers != run->n_layers)
        r = last_error_set(last_error, -ESTALE, "model %s has other layers now", run->layer.model);
    if (r < 0 || !run->layer.mapped.reply)
        return r;
    r = run_calls_next(channel, last_error, run->layer.model, ret->run_id, 0,
                       run->layer.mapped.fill, &reply);
    if (r == 0)
        r = channel_map(channel, &reply, false, last_error, &ret->mapped);
    if (r < 0)
        return r;
    r = run_calls_parse_place(reply.parameters, n_layers, &index, &pass, &hit);
    if (r == 0 && (index != run->index || pass != 0))
        r = -EBADMSG;
    return r < 0 ? channel_bad_reply(r, last_error) : 0;
}

/* Acquires everything that is held over the new connection as well. `taken` is in the order of the
 * lists. */
static int take_all(struct edgemind *em, struct channel *channel, struct taken *taken, bool same)
{
    struct edgemind_layer *layer;
    struct edgemind_run *run;
    int r = 0;

    LIST_FOREACH (layer, &em->layers, entry) {
        r = channel_acquire(channel, layer->model, layer->mapped.layer, layer->units, 0,
                            layer->mapped.fill, &em->last_error, &taken->mapped);
        r = verify(em, layer, r, &taken++->mapped, same);
        if (r < 0)
            return r;
    }
    LIST_FOREACH (run, &em->runs, entry) {
        r = take_run(run, channel, taken);
        r = verify(em, &run->layer, r, &taken++->mapped, same);
        if (r < 0)
            return r;
    }
    return 0;
}

/* If the bytes are the same, the old names and tensors stay, so that pointers to them stay valid.
 */
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

static void replace_all(struct edgemind *em, struct channel *channel, struct taken *taken)
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

int connection_renew(struct edgemind *em, bool same)
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
    struct taken *taken = calloc(n + 1, sizeof *taken);
    if (!taken)
        return last_error_set(&em->last_error, -ENOMEM, "%s", strerror(ENOMEM));
    int r = channel_open(&channel, em->socket_path, em->timeout_usec,
                         has_layers ? em->channel.map : NULL, &em->last_error);
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

/* Waits before every try except the first. */
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

/* Errors that are temporary while a daemon ends and the next one starts: there is no socket, no
 * process listens on it, its permissions are not set yet, or the daemon hangs up again. */
static bool may_pass(const struct edgemind *em, int r)
{
    return !em->last_error.name && (r == -ENOENT || r == -ECONNREFUSED || r == -EACCES ||
                                    r == -ECONNRESET || r == -EPIPE || r == -ENODATA);
}

int connection_check_process(struct edgemind *em)
{
    if (!em->channel.varlink || !varlink_is_parents(em->channel.varlink))
        return 0;
    return last_error_set(&em->last_error, -ECHILD,
                          "the connection is that of the process that this one was forked from; "
                          "this process needs one of its own");
}

int connection_ready(struct edgemind *em)
{
    bool is_cut = em->channel.map && arena_map_is_lost(em->channel.map);
    int r = connection_check_process(em);

    if (r < 0)
        return r;
    if (!em->channel.varlink)
        return channel_fail(&em->channel, &em->last_error);
    if (em->has_lost || is_cut)
        r = connection_find_lost(em, false);
    if (r < 0 || (em->channel.broken == 0 && !is_cut))
        return r;
    note_loss(em);
    do {
        wait_a_little(em);
        r = connection_renew(em, true);
    } while (r < 0 && may_pass(em, r) && clock_monotonic_usec() < em->try_until_usec);
    return r;
}

bool connection_again(struct edgemind *em, int r)
{
    if (r == 0 || r == -ESTALE || em->last_error.name) /* the daemon has answered */
        em->try_until_usec = 0;
    else if (r == -ECONNRESET || r == -EPIPE || r == -ENODATA) {
        note_loss(em);
        if (clock_monotonic_usec() < em->try_until_usec)
            return true;
    }
    em->pause_usec = 0;
    return false;
}

int connection_check_wait(struct edgemind *em, uint64_t wait_usec)
{
    return wait_usec <= EDGEMIND_WAIT_USEC_MAX
               ? 0
               : last_error_set(&em->last_error, -EINVAL, "a wait is at most 60 s long");
}
