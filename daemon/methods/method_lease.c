/* Acquire and Release. Leases belong to a connection and end with it. */
#include "daemon/methods/acquisition.h"
#include "daemon/methods/error_replies.h"
#include "daemon/methods/lease_units.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/parameters.h"

#include <errno.h>

struct acquire_parameters {
    const char *model, *layer, *view, *next;
    json_t *units;
    bool ahead; /* the view does not need the layer yet */
    struct acquisition_options options;
};

static const struct field acquire_fields[] = {
    {"model", FIELD_STRING, offsetof(struct acquire_parameters, model), FIELD_REQUIRED},
    {"layer", FIELD_STRING, offsetof(struct acquire_parameters, layer), FIELD_REQUIRED},
    {"units", FIELD_JSON, offsetof(struct acquire_parameters, units)},
    {"view", FIELD_STRING, offsetof(struct acquire_parameters, view)},
    {"ahead", FIELD_BOOL, offsetof(struct acquire_parameters, ahead)},
    {"next", FIELD_STRING, offsetof(struct acquire_parameters, next)},
    ACQUISITION_OPTION_FIELDS(struct acquire_parameters, options),
    {0},
};

/* The layers that the call names, for which `layers` has room. If it returns false, it has answered
 * the call with an error. */
static bool find_layers(struct call *call, struct model *model,
                        const struct acquire_parameters *parameters, struct layer **layers,
                        struct layer_set *set)
{
    if (!parameters->units)
        return (layers[0] = manager_find_layer(call, model, parameters->layer)) != NULL;
    if (parameters->view) {
        call_invalid_parameter(call, "view");
        return false;
    }
    set->units_of = parameters->layer;
    return lease_units_find(call, model, parameters->layer, parameters->units, layers, &set->n);
}

/* As find_layers, of the layer that the view will acquire next, if the call names one. */
static bool find_next(struct call *call, struct model *model, struct acquire_parameters *parameters)
{
    if (!parameters->next)
        return true;
    if (!parameters->view) {
        call_invalid_parameter(call, "next");
        return false;
    }
    parameters->options.next = manager_find_layer(call, model, parameters->next);
    return parameters->options.next != NULL;
}

void method_acquire(struct call *call, void *context)
{
    struct manager *manager = context;
    struct acquire_parameters parameters = {0};
    struct model *model;
    struct layer *layers[LEASE_UNITS_MAX];
    struct layer_set set = {.layers = layers, .n = 1};

    if (!call_decode(call, acquire_fields, &parameters) ||
        !acquisition_check_options(call, &parameters.options) ||
        !(model = manager_find_model(manager, call, parameters.model)) ||
        !find_layers(call, model, &parameters, layers, &set) ||
        !find_next(call, model, &parameters))
        return;
    struct holder *holder = acquisition_find_holder(manager, call);
    if (holder && parameters.view) {
        parameters.options.view_id = acquisition_parse_id(parameters.view);
        const struct client_view *view =
            client_view_find(&holder->views, parameters.options.view_id);
        if (!view || view->registration != model->registration) {
            reply_not_found(call, "view", parameters.view);
            return;
        }
        if (parameters.ahead && !view_plan_may_read_ahead(view, layers[0])) {
            call_error(call, ERROR_BUSY, json_pack("{s:[], s:i}", "leases", "leasesTotal", 0));
            return;
        }
    }
    if (!holder)
        call_io_failed(call, "lease", -ENOMEM);
    else
        acquisition_begin(manager, call, holder, &set, &parameters.options, NULL);
}

struct release_parameters {
    const char *lease;
};

static const struct field release_fields[] = {
    {"lease", FIELD_STRING, offsetof(struct release_parameters, lease), FIELD_REQUIRED},
    {0},
};

void method_release(struct call *call, void *context)
{
    struct release_parameters parameters = {0};
    struct holder *holder = call_connection_data(call);
    (void)context;

    if (!call_decode(call, release_fields, &parameters))
        return;
    if (!holder || lease_release(holder, acquisition_parse_id(parameters.lease)) < 0)
        reply_not_found(call, "lease", parameters.lease);
    else
        call_reply(call, NULL);
}
