/* list: shows the models, a model's layers, or a model's layers with their tensors or units. */
#include "client/emctl/error_message.h"
#include "client/emctl/model_units.h"
#include "client/emctl/repeat.h"
#include "client/emctl/verb.h"
#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/error.h"

#include <string.h>

/* Sends one List call and shows every reply to it. With `ret_layers` it also collects the layers,
 * with their names as the daemon sends them. */
static int list(struct session *session, const char *layer, output_function show,
                json_t *ret_layers)
{
    bool last = false;
    int r = session_send(session, "List",
                         json_pack("{s:s*, s:s*}", "model", session->subject.model, "layer", layer),
                         true, NULL);

    while (r == EXIT_DONE && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = ret_layers ? session_receive_raw(session, &reply) : session_receive(session, &reply);
        if (r == EXIT_DONE && show)
            r = session_show(session, show, reply.parameters);
        if (r == EXIT_DONE && ret_layers &&
            json_array_extend(ret_layers, json_object_get(reply.parameters, "layers")) < 0)
            r = session_bad_reply();
        last = !reply.continues;
    }
    return r;
}

static int list_tensors(struct session *session, json_t *layers)
{
    const struct output_ops *ops = session->output.ops;
    json_t *layer;
    size_t i;
    int r = list(session, NULL, session->arguments->json ? ops->list : NULL, layers);

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
            r = list(session, as_named, ops->list_tensors, NULL);
    }
    return r;
}

static int list_units(struct session *session)
{
    json_t *layers = NULL, *layer;
    size_t i;
    int r = model_units_list(session, &layers);

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
        r = list(session, NULL, ops->list, NULL);
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
