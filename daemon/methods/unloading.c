#include "daemon/methods/unloading.h"

#include <errno.h>
#include <event2/event.h>

void unloading_cancel(struct unloading *unloading)
{
    if (unloading->model)
        scheduler_let_go_of_model(unloading->model);
    unloading->model = NULL;
    if (unloading->next)
        event_free(unloading->next);
    unloading->next = NULL;
}

static int evict_portion(struct unloading *unloading)
{
    struct scheduler *scheduler = unloading->manager->scheduler;
    struct model *model = unloading->model;

    scheduler_set_requester(scheduler, &unloading->requester);
    int r = scheduler_unload_portion(scheduler, model, &unloading->at);
    if (r <= 0)
        unloading_cancel(unloading);
    if (r == 0)
        r = scheduler_remove_model(scheduler, model);
    scheduler_set_requester(scheduler, NULL);
    return r;
}

static void go_on(evutil_socket_t fd, short what, void *context)
{
    struct unloading *unloading = context;
    int r;
    (void)fd;
    (void)what;
    do
        r = evict_portion(unloading);
    while (r > 0 && (!unloading->next || event_add(unloading->next, &(struct timeval){0}) < 0));
    if (r <= 0)
        unloading->ended(r, unloading->context);
}

void unloading_begin(struct unloading *unloading, struct manager *manager, const struct call *call,
                     struct model *model, void (*ended)(int error, void *context), void *context)
{
    if (model->n_holds > 0) {
        ended(-EBUSY, context);
        return;
    }
    *unloading = (struct unloading){
        .manager = manager,
        .model = model,
        .requester = manager_requester(call),
        .ended = ended,
        .context = context,
    };
    scheduler_hold_model(model);
    /* If there is no memory for the event, the portions follow each other at once. */
    if (scheduler_model_resident(manager->scheduler, model, NULL) > 0)
        unloading->next = event_new(manager->base, -1, 0, go_on, unloading);
    go_on(-1, 0, unloading);
}
