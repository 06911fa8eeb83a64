/* Runs: a model's layers in order, again and again.
 *
 * Invariant: a run knows its place, which is the layer that it has mapped or else the next layer.
 * So it can continue over another connection. */
#include "client/library/connection.h"
#include "client/library/run_calls.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

int edgemind_run_begin(struct edgemind *em, const char *model, struct edgemind_run **ret)
{
    struct edgemind_run *run = calloc(1, sizeof *run);
    int r;

    if (run)
        run->layer = (struct edgemind_layer){.em = em, .model = strdup(model)};
    if (!run || !run->layer.model) {
        free(run);
        return last_error_set(&em->last_error, -ENOMEM, "%s", strerror(ENOMEM));
    }
    run->em = em;
    do {
        r = connection_ready(em);
        if (r == 0)
            r = run_calls_begin(&em->channel, &em->last_error, model, 0, &run->id, &run->n_layers);
    } while (connection_again(em, r));
    if (r < 0) {
        free(run->layer.model);
        free(run);
        return r;
    }
    LIST_INSERT_HEAD(&em->runs, run, entry);
    *ret = run;
    return 0;
}

/* Unmaps the run's layer, which the daemon has released. */
static void leave(struct edgemind_run *run)
{
    if (!run->layer.mapped.reply)
        return;
    mapped_layer_done(&run->layer.mapped);
    if (++run->index == run->n_layers) {
        run->index = 0;
        run->pass++;
    }
}

/* Maps the layer in the reply to Next. */
static int enter(struct edgemind_run *run, struct varlink_reply *reply, struct edgemind_step *ret)
{
    struct edgemind *em = run->em;
    uint64_t index, pass;
    bool hit;

    int r = channel_map(&em->channel, reply, false, &em->last_error, &run->layer.mapped);
    if (r < 0)
        return r;
    r = run_calls_parse_place(reply->parameters, run->n_layers, &index, &pass, &hit);
    if (r == 0 && __builtin_add_overflow(pass, run->first_pass, &pass))
        r = -EBADMSG;
    if (r < 0) {
        mapped_layer_done(&run->layer.mapped);
        return channel_bad_reply(r, &em->last_error);
    }
    run->index = index;
    run->pass = pass;
    *ret = (struct edgemind_step){&run->layer, index, pass, hit};
    return 0;
}

static int step(struct edgemind_run *run, uint64_t wait_usec, struct edgemind_step *ret)
{
    struct edgemind *em = run->em;
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    int r = run_calls_next(&em->channel, &em->last_error, run->layer.model, run->id, wait_usec, 0,
                           &reply);
    if (r < 0 && !em->last_error.name)
        return r;
    leave(run);
    if (r == 0) {
        r = enter(run, &reply, ret);
        /* The daemon's run is now one step ahead of this one. Only a new connection can go back. */
        if (r < 0 && em->channel.broken == 0)
            em->channel.broken = r;
    }
    return r;
}

int edgemind_run_next(struct edgemind_run *run, uint64_t wait_usec, struct edgemind_step *ret)
{
    int r = connection_check_wait(run->em, wait_usec);
    if (r < 0)
        return r;
    do {
        r = connection_ready(run->em);
        if (r == 0)
            r = step(run, wait_usec, ret);
    } while (connection_again(run->em, r));
    return r;
}

uint64_t edgemind_run_layers(const struct edgemind_run *run)
{
    return run->n_layers;
}

int edgemind_run_end(struct edgemind_run *run)
{
    int r;

    if (!run)
        return 0;
    struct edgemind *em = run->em;
    do {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = connection_ready(em);
        if (r == 0)
            r = channel_call(&em->channel, "EndRun", json_pack("{s:s}", "run", run->id), NULL, 0,
                             &(struct error_subject){0}, &em->last_error, &reply);
    } while (connection_again(em, r));
    connection_free_run(run);
    return r;
}
