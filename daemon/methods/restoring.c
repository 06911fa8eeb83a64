#include "daemon/methods/restoring.h"

#include "common/log.h"
#include "daemon/methods/error_replies.h"

#include <errno.h>
#include <string.h>

/* Worker thread. */
static int make(struct job *job, uint64_t index)
{
    struct restoring *restoring = (struct restoring *)job;
    const struct model_preparation *preparation = &restoring->manager->preparation;
    (void)index;
    restoring->model = model_new(restoring->definition);
    if (!restoring->model)
        return -ENOMEM;
    preparation->prepare(restoring->definition, preparation->context);
    return 0;
}

static int register_again(struct restoring *restoring)
{
    struct model_refusal refusal;
    int r = scheduler_check_model(restoring->manager->scheduler, restoring->model, NULL, &refusal);
    if (r == 0)
        scheduler_register_model(restoring->manager->scheduler, TAKE_PTR(restoring->model));
    return r;
}

static void end(struct restoring *restoring, int error)
{
    const struct model_preparation *preparation = &restoring->manager->preparation;
    if (error == 0)
        error = register_again(restoring);
    if (error < 0)
        log_warn("the model %s, which was replaced, cannot be registered again: %s",
                 restoring->definition->name, strerror(-error));
    if (restoring->model) {
        preparation->forget(restoring->definition, preparation->context);
        restoring->model = model_free(restoring->model, NULL);
    }
    if (restoring->call)
        reply_load_failure(restoring->call, restoring->error, restoring->failed_path);
    restoring->definition = definition_unref(restoring->definition);
    restoring->failed_definition = definition_unref(restoring->failed_definition);
    restoring->manager = NULL;
    restoring->ended(restoring->context);
}

static void unloaded(int error, void *context)
{
    end(context, error);
}

static void made(struct job *job, int error)
{
    struct restoring *restoring = (struct restoring *)job;
    scheduler_let_go_of_model(restoring->failed);
    if (error < 0)
        end(restoring, error);
    else if (restoring->call)
        unloading_begin(&restoring->unloading, restoring->manager, restoring->call,
                        restoring->failed, unloaded, restoring);
    else
        end(restoring, scheduler_remove_model(restoring->manager->scheduler, restoring->failed));
}

void restoring_begin(struct restoring *restoring, struct manager *manager, struct call *call,
                     const struct load_end *why, struct definition *definition,
                     void (*ended)(void *context), void *context)
{
    struct model *failed = why->layer->model;
    *restoring = (struct restoring){
        .job = {.n_steps = 1, .step = make, .done = made, .uid = call_peer(call)->uid},
        .manager = manager,
        .call = call,
        .error = why->error,
        .failed_path = why->error == -ESTALE ? layer_failed_path(why->layer) : NULL,
        .failed_definition = definition_ref(failed->definition),
        .failed = failed,
        .definition = definition_ref(definition),
        .ended = ended,
        .context = context,
    };
    scheduler_hold_model(failed);
    workers_submit(manager->planners, &restoring->job);
}

void restoring_without_call(struct restoring *restoring)
{
    restoring->call = NULL;
    if (!restoring->unloading.model)
        return; /* the worker goes on */
    unloading_cancel(&restoring->unloading);
    end(restoring, scheduler_remove_model(restoring->manager->scheduler, restoring->failed));
}
