/* Runs: a model's layers in order, again and again.
 *
 * Invariant: the run has a layer mapped only between a step that succeeded and the next one, so
 * that the library never holds what the daemon has taken back. */
#include "client/library.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

int edgemind_run_begin(struct edgemind *em, const char *model, struct edgemind_run **ret)
{
    const struct failure_subject subject = {.model = model};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    const char *id;
    json_int_t n_layers;

    int r = channel_call(&em->channel, "BeginRun", json_pack("{s:s}", "model", model), NULL, 0,
                         &subject, &em->failure, &reply);
    if (r < 0)
        return r;
    if (json_unpack(reply.parameters, "{s:s, s:I}", "run", &id, "layers", &n_layers) < 0 ||
        n_layers <= 0)
        return channel_bad_reply(&em->failure);
    struct edgemind_run *run = calloc(1, sizeof *run);
    if (run) {
        *run = (struct edgemind_run){.em = em, .id = strdup(id), .n_layers = (uint64_t)n_layers};
        run->layer = (struct edgemind_layer){.em = em, .model = strdup(model)};
        LIST_INSERT_HEAD(&em->runs, run, entry);
    }
    if (!run || !run->id || !run->layer.model) {
        if (run)
            library_run_free(run);
        return failure_set(&em->failure, -ENOMEM, "%s", strerror(ENOMEM));
    }
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

void library_run_lost(struct edgemind_run *run)
{
    mapped_layer_done(&run->layer.mapped);
    run->error = -ESTALE;
}

/* Maps what Next gave. */
static int use_step(struct edgemind_run *run, struct varlink_reply *reply,
                    struct edgemind_step *ret)
{
    struct edgemind *em = run->em;
    json_int_t index, pass;
    int hit;

    int r = channel_map(&em->channel, reply, &em->failure, &run->layer.mapped);
    if (r < 0)
        return r;
    if (json_unpack(reply->parameters, "{s:I, s:I, s:b}", "index", &index, "pass", &pass, "hit",
                    &hit) < 0 ||
        index < 0 || (uint64_t)index >= run->n_layers || pass < 0) {
        mapped_layer_done(&run->layer.mapped);
        return channel_bad_reply(&em->failure);
    }
    *ret = (struct edgemind_step){&run->layer, (uint64_t)index, (uint64_t)pass, hit};
    return 0;
}

int edgemind_run_next(struct edgemind_run *run, uint64_t wait_usec, struct edgemind_step *ret)
{
    struct edgemind *em = run->em;
    const struct failure_subject subject = {.model = run->layer.model};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    int r = library_check_wait(em, wait_usec);
    if (r < 0)
        return r;
    if (run->error != 0)
        return failure_set(&em->failure, run->error, "the run over model %s has ended",
                           run->layer.model);
    mapped_layer_done(&run->layer.mapped);
    json_t *parameters = channel_add_wait(json_pack("{s:s}", "run", run->id), wait_usec);
    r = channel_call(&em->channel, "Next", parameters, NULL, 0, &subject, &em->failure, &reply);
    if (r < 0 && em->failure.name)
        return r;
    if (r == 0)
        r = use_step(run, &reply, ret);
    /* The daemon may have gone a step further than the caller has seen. */
    if (r < 0)
        run->error = r;
    return r;
}

uint64_t edgemind_run_layers(const struct edgemind_run *run)
{
    return run->n_layers;
}

int edgemind_run_end(struct edgemind_run *run)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = 0;

    if (!run)
        return 0;
    struct edgemind *em = run->em;
    if (run->error != -ESTALE)
        r = channel_call(&em->channel, "EndRun", json_pack("{s:s}", "run", run->id), NULL, 0,
                         &(struct failure_subject){0}, &em->failure, &reply);
    library_run_free(run);
    return r;
}
