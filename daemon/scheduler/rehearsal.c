/* Owns the virtual clock. A layer's used_usec holds, in nanoseconds, the time at which the disk has
 * read it. All else follows the steps of a real run, in the same order: release the last layer,
 * request the next one, pin it, read ahead. */
#include "daemon/scheduler/rehearsal.h"

#include <errno.h>

int rehearsal_begin(struct scheduler *scheduler, struct model *model,
                    const struct rehearsal_rates *rates, struct rehearsal *ret)
{
    *ret = (struct rehearsal){.scheduler = scheduler, .rates = *rates};
    return scheduler_begin_run(scheduler, model, &ret->run);
}

void rehearsal_end(struct rehearsal *rehearsal)
{
    rehearsal->run = scheduler_end_run(rehearsal->scheduler, rehearsal->run);
}

/* The disk reads the layer as soon as it is free. */
static void read_layer(struct rehearsal *rehearsal, struct layer *layer)
{
    uint64_t bytes = layer_definition(layer)->bytes;
    if (rehearsal->disk_free_usec < rehearsal->now_usec)
        rehearsal->disk_free_usec = rehearsal->now_usec;
    if (rehearsal->rates.disk_bytes_per_sec > 0)
        rehearsal->disk_free_usec +=
            (double)bytes * 1e6 / (double)rehearsal->rates.disk_bytes_per_sec;
    scheduler_complete(rehearsal->scheduler, layer, (uint64_t)(rehearsal->disk_free_usec * 1000));
}

static int use_layer(struct rehearsal *rehearsal, struct pass *pass)
{
    struct scheduler *scheduler = rehearsal->scheduler;
    struct run *run = rehearsal->run;
    const struct definition *definition = run->model->definition;
    struct layer *layer = run->next;
    _cleanup_(verdict_done) struct verdict verdict = {0};

    uint64_t ready_nsec = layer->used_usec; /* for a layer that was read ahead */
    int r = scheduler_request_whole(scheduler, layer, ON_FULL_EVICT, 0, &verdict);
    if (r < 0)
        return r;
    switch (verdict.outcome) {
    case OUTCOME_REFUSED:
    case OUTCOME_LOADING:
        return -EBUSY;
    case OUTCOME_RESERVED:
        read_layer(rehearsal, layer);
        ready_nsec = layer->used_usec;
        break;
    case OUTCOME_HIT:
        break;
    }
    if (verdict.outcome == OUTCOME_HIT && !verdict.ahead) {
        pass->hits++;
    } else {
        pass->loaded++;
        pass->loaded_bytes += layer_definition(layer)->bytes;
        if (rehearsal->now_usec < (double)ready_nsec / 1000)
            rehearsal->now_usec = (double)ready_nsec / 1000;
    }

    scheduler_pin(scheduler, layer);
    scheduler_run_enter(scheduler, run, 0);
    for (struct layer *ahead; (r = scheduler_read_ahead(scheduler, run, &ahead)) == 0 && ahead;)
        read_layer(rehearsal, ahead);
    rehearsal->now_usec += (double)rehearsal->rates.compute_usec *
                           (double)layer_definition(layer)->bytes / (double)definition->bytes;
    scheduler_unpin(scheduler, layer);
    return r;
}

int rehearsal_pass(struct rehearsal *rehearsal, struct pass *ret)
{
    struct scheduler_stats before, after;
    double began_usec = rehearsal->now_usec;
    struct pass pass = {0};

    scheduler_get_stats(rehearsal->scheduler, &before);
    for (uint32_t i = 0; i < rehearsal->run->model->definition->n_layers; i++) {
        int r = rehearsal->go_on ? rehearsal->go_on(rehearsal->context) : 0;
        if (r == 0)
            r = use_layer(rehearsal, &pass);
        if (r < 0)
            return r;
    }
    scheduler_get_stats(rehearsal->scheduler, &after);
    pass.evictions = after.evictions - before.evictions;
    pass.flushes = after.flushes - before.flushes;
    pass.usec = rehearsal->now_usec - began_usec;
    *ret = pass;
    return 0;
}
