/* Runs: a model's layers in order, again and again.
 *
 * Invariant: a run knows its place, so that it can go on over another connection: the layer that it
 * has mapped, or the one that comes next. */
#include "client/library/library.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

/* Begins with the layer `index`. The caller owns the id. */
static int begin(struct channel *channel, struct failure *failure, const char *model,
                 uint64_t index, char **ret_id, uint64_t *ret_n_layers)
{
    const struct failure_subject subject = {.model = model};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    const char *id;
    json_int_t n_layers;

    json_t *parameters = json_pack("{s:s, s:o*}", "model", model, "at",
                                   index > 0 ? json_integer((json_int_t)index) : NULL);
    int r = channel_call(channel, "BeginRun", parameters, NULL, 0, &subject, failure, &reply);
    if (r < 0)
        return r;
    if (json_unpack(reply.parameters, "{s:s, s:I}", "run", &id, "layers", &n_layers) < 0 ||
        n_layers <= 0 || (uint64_t)n_layers <= index)
        return channel_bad_reply(failure);
    char *copy = strdup(id);
    if (!copy)
        return failure_set(failure, -ENOMEM, "%s", strerror(ENOMEM));
    *ret_id = copy;
    *ret_n_layers = (uint64_t)n_layers;
    return 0;
}

int edgemind_run_begin(struct edgemind *em, const char *model, struct edgemind_run **ret)
{
    struct edgemind_run *run = calloc(1, sizeof *run);
    int r;

    if (run)
        run->layer = (struct edgemind_layer){.em = em, .model = strdup(model)};
    if (!run || !run->layer.model) {
        free(run);
        return failure_set(&em->failure, -ENOMEM, "%s", strerror(ENOMEM));
    }
    run->em = em;
    do {
        r = library_ready(em);
        if (r == 0)
            r = begin(&em->channel, &em->failure, model, 0, &run->id, &run->n_layers);
    } while (library_again(em, r));
    if (r < 0) {
        free(run->layer.model);
        free(run);
        return r;
    }
    LIST_INSERT_HEAD(&em->runs, run, entry);
    *ret = run;
    return 0;
}

void library_run_free(struct edgemind_run *run)
{
    LIST_REMOVE(run, entry);
    mapped_layer_done(&run->layer.mapped);
    free(run->layer.model);
    free(run->id);
    free(run);
}

/* What a reply to Next says of the place, with the daemon's count of passes. */
static bool parse_place(const json_t *reply, uint64_t n_layers, uint64_t *ret_index,
                        uint64_t *ret_pass, bool *ret_hit)
{
    json_int_t index, pass;
    int hit;

    if (json_unpack((json_t *)(uintptr_t)reply, "{s:I, s:I, s:b}", "index", &index, "pass", &pass,
                    "hit", &hit) < 0 ||
        index < 0 || (uint64_t)index >= n_layers || pass < 0)
        return false;
    *ret_index = (uint64_t)index;
    *ret_pass = (uint64_t)pass;
    *ret_hit = hit;
    return true;
}

static int next(struct channel *channel, struct failure *failure, const char *model, const char *id,
                uint64_t wait_usec, json_int_t fill, struct varlink_reply *reply)
{
    const struct failure_subject subject = {.model = model};
    json_t *parameters = json_pack("{s:s}", "run", id);
    parameters = channel_add(parameters, "waitUsec", (json_int_t)wait_usec);
    parameters = channel_add(parameters, "fill", fill);
    return channel_call(channel, "Next", parameters, NULL, 0, &subject, failure, reply);
}

int library_run_take(struct edgemind_run *run, struct channel *channel, struct library_taken *ret)
{
    struct failure *failure = &run->em->failure;
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    uint64_t n_layers, index, pass;
    bool hit;

    int r = begin(channel, failure, run->layer.model, run->index, &ret->run_id, &n_layers);
    if (r == 0 && n_layers != run->n_layers)
        r = failure_set(failure, -ESTALE, "model %s has other layers now", run->layer.model);
    if (r < 0 || !run->layer.mapped.reply)
        return r;
    r = next(channel, failure, run->layer.model, ret->run_id, 0, run->layer.mapped.fill, &reply);
    if (r == 0)
        r = channel_map(channel, &reply, failure, &ret->mapped);
    if (r == 0 && (!parse_place(reply.parameters, n_layers, &index, &pass, &hit) ||
                   index != run->index || pass != 0))
        r = channel_bad_reply(failure);
    return r;
}

/* The layer was given back. */
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

/* Maps what Next gave. */
static int enter(struct edgemind_run *run, struct varlink_reply *reply, struct edgemind_step *ret)
{
    struct edgemind *em = run->em;
    uint64_t index, pass;
    bool hit;

    int r = channel_map(&em->channel, reply, &em->failure, &run->layer.mapped);
    if (r < 0)
        return r;
    if (!parse_place(reply->parameters, run->n_layers, &index, &pass, &hit) ||
        __builtin_add_overflow(pass, run->first_pass, &pass)) {
        mapped_layer_done(&run->layer.mapped);
        return channel_bad_reply(&em->failure);
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

    int r = next(&em->channel, &em->failure, run->layer.model, run->id, wait_usec, 0, &reply);
    if (r < 0 && !em->failure.name)
        return r;
    leave(run);
    if (r == 0) {
        r = enter(run, &reply, ret);
        /* The daemon is a step further than the caller has seen: only a new connection can go
         * back. */
        if (r < 0 && em->channel.broken == 0)
            em->channel.broken = r;
    }
    return r;
}

int edgemind_run_next(struct edgemind_run *run, uint64_t wait_usec, struct edgemind_step *ret)
{
    int r = library_check_wait(run->em, wait_usec);
    if (r < 0)
        return r;
    do {
        r = library_ready(run->em);
        if (r == 0)
            r = step(run, wait_usec, ret);
    } while (library_again(run->em, r));
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
        r = library_ready(em);
        if (r == 0)
            r = channel_call(&em->channel, "EndRun", json_pack("{s:s}", "run", run->id), NULL, 0,
                             &(struct failure_subject){0}, &em->failure, &reply);
    } while (library_again(em, r));
    library_run_free(run);
    return r;
}
