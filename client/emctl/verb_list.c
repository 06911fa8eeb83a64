/* list: shows the models, a model's layers, or a model's layers with their tensors or units. */
#include "client/emctl/error_message.h"
#include "client/emctl/list_call.h"
#include "client/emctl/model_units.h"
#include "client/emctl/repeat.h"
#include "client/emctl/verb.h"
#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/residency/layer_uses.h"

#include <string.h>

static int list_tensors(struct session *session, json_t *layers)
{
    const struct output_ops *ops = session->output.ops;
    json_t *layer;
    size_t i;
    int r = list_call(session, NULL, session->arguments->json ? ops->list : NULL, "layers", layers);

    json_array_foreach (layers, i, layer) {
        const char *name = json_string_value(json_object_get(layer, "name"));
        if (r != EXIT_DONE)
            break;
        if (!name)
            return session_bad_reply();
        _cleanup_(freep) char *as_named = strdup(name); /* safe_json may change the name */
        if (!as_named || safe_json(layer) < 0)
            return error_message_print(EXIT_OTHER, "out of memory.");
        r = session_show(session, ops->list_layer, layer);
        if (r == EXIT_DONE)
            r = list_call(session, as_named, ops->list_tensors, NULL, NULL);
    }
    return r;
}

static bool is_cut(const json_t *layers)
{
    json_t *layer;
    size_t i;

    json_array_foreach (layers, i, layer) {
        const char *name = json_string_value(json_object_get(layer, "name"));
        if (name && layer_is_unit(name))
            return true;
    }
    return false;
}

/* Units that are layers are shown as List has them, in one call for all. Sets `ret` to whether the
 * model has such units. */
static int list_layers_of_units(struct session *session, bool *ret)
{
    json_t *layers = json_array();
    int r = list_call_used(session, layers);

    *ret = r == EXIT_DONE && is_cut(layers);
    if (*ret)
        r = safe_json(layers) < 0
                ? error_message_print(EXIT_OTHER, "out of memory.")
                : session_show(session, session->output.ops->list_unit_groups, layers);
    json_decref(layers);
    return r;
}

static int list_units(struct session *session)
{
    json_t *layers = NULL, *layer;
    bool are_layers = false;
    size_t i;
    int r = session->arguments->json ? EXIT_DONE : list_layers_of_units(session, &are_layers);

    if (r != EXIT_DONE || are_layers)
        return r;
    r = model_units_list(session, &layers);

    json_array_foreach (layers, i, layer)
        if (r == EXIT_DONE)
            r = session_show(session, session->output.ops->list_units, layer);
    json_decref(layers);
    return r;
}

static int list_once(struct session *session)
{
    const struct output_ops *ops = session->output.ops;
    int r;

    if (session->arguments->units) {
        r = list_units(session);
    } else if (session->arguments->tensors) {
        json_t *layers = json_array();
        r = list_tensors(session, layers);
        json_decref(layers);
    } else {
        r = list_call(session, NULL, ops->list, NULL, NULL);
    }
    return r == EXIT_DONE ? session_show(session, ops->list_end, NULL) : r;
}

int verb_list(struct session *session)
{
    const struct arguments *arguments = session->arguments;

    if (arguments->operands[0])
        session_name_model(session, arguments->operands[0]);
    if ((arguments->tensors || arguments->units) && !session->subject.model)
        return error_message_print(EXIT_USAGE, "%s needs MODEL. Try 'emctl list --help'.",
                                   arguments->tensors ? "--tensors" : "--units");
    if (arguments->tensors && arguments->units)
        return error_message_print(EXIT_USAGE, "--tensors and --units exclude each other. "
                                               "Try 'emctl list --help'.");
    return arguments->watch ? repeat(session, list_once) : list_once(session);
}
