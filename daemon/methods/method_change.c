/* The methods that unload or set something: UnloadLayer, UnloadModel, Reset, SetPolicy. */
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"
#include "daemon/methods/unloading.h"

#include <errno.h>

struct name_parameters {
    const char *model, *layer;
};

static const struct field layer_fields[] = {
    {"model", FIELD_STRING, offsetof(struct name_parameters, model), FIELD_REQUIRED},
    {"layer", FIELD_STRING, offsetof(struct name_parameters, layer), FIELD_REQUIRED},
    {0},
};

static const struct field model_fields[] = {
    {"model", FIELD_STRING, offsetof(struct name_parameters, model), FIELD_REQUIRED},
    {0},
};

static void reply_unless_busy(struct manager *manager, struct call *call, int r)
{
    if (r < 0)
        reply_busy(manager, call);
    else
        call_reply(call, NULL);
}

void method_unload_layer(struct call *call, void *context)
{
    struct manager *manager = context;
    struct name_parameters parameters = {0};
    struct model *model;
    struct layer *layer;

    if (!call_decode(call, layer_fields, &parameters) ||
        !(model = manager_find_model(manager, call, parameters.model)) ||
        !(layer = manager_find_layer(call, model, parameters.layer)))
        return;
    manager_begin_request(manager, call);
    int r = scheduler_unload_layer(manager->scheduler, layer);
    manager_end_request(manager);
    reply_unless_busy(manager, call, r);
}

/* An UnloadModel in progress. */
struct unload_call {
    struct unloading unloading;
    struct manager *manager;
    struct call *call;
};

static void unloaded(int error, void *context)
{
    _cleanup_(freep) struct unload_call *unload = context;
    reply_unless_busy(unload->manager, unload->call, error);
}

static void unload_cancelled(void *context)
{
    struct unload_call *unload = context;
    unloading_cancel(&unload->unloading);
    free(unload);
}

void method_unload_model(struct call *call, void *context)
{
    static const struct call_hooks hooks = {.cancelled = unload_cancelled};
    struct manager *manager = context;
    struct name_parameters parameters = {0};
    struct model *model;

    if (!call_decode(call, model_fields, &parameters) ||
        !(model = manager_find_model(manager, call, parameters.model)))
        return;
    struct unload_call *unload = calloc(1, sizeof *unload);
    if (!unload) {
        call_io_failed(call, "unload", -ENOMEM);
        return;
    }
    unload->manager = manager;
    unload->call = call;
    call_set_hooks(call, &hooks, unload);
    unloading_begin(&unload->unloading, manager, call, model, unloaded, unload);
}

void method_reset(struct call *call, void *context)
{
    struct manager *manager = context;
    struct scheduler_stats before;

    if (!call_decode(call, call_no_parameters, NULL))
        return;
    scheduler_get_stats(manager->scheduler, &before);
    manager_begin_request(manager, call);
    int r = scheduler_reset(manager->scheduler);
    manager_end_request(manager);
    if (r < 0)
        reply_busy(manager, call);
    else
        call_reply(call, json_pack("{s:I}", "evicted", (json_int_t)before.layers_resident));
}

struct policy_parameters {
    const char *policy, *on_full;
};

static const struct field policy_fields[] = {
    {"policy", FIELD_STRING, offsetof(struct policy_parameters, policy)},
    {"onFull", FIELD_STRING, offsetof(struct policy_parameters, on_full)},
    {0},
};

void method_set_policy(struct call *call, void *context)
{
    struct manager *manager = context;
    struct policy_parameters parameters = {0};
    const struct policy *policy;
    enum on_full on_full;

    if (!call_decode(call, policy_fields, &parameters) ||
        !manager_policy(manager, call, parameters.policy, &policy) ||
        !manager_on_full(manager, call, parameters.on_full, &on_full))
        return;
    struct requester requester = manager_requester(call);
    events_on_setting(manager->events, "on-full", on_full_name(manager->on_full),
                      on_full_name(on_full), &requester);
    manager->on_full = on_full;
    manager_begin_request(manager, call);
    scheduler_set_policy(manager->scheduler, policy);
    manager_end_request(manager);
    call_reply(call,
               json_pack("{s:s, s:s}", "policy", policy->name, "onFull", on_full_name(on_full)));
}
