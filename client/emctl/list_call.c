#include "client/emctl/list_call.h"

static int receive(struct session *session, output_function show, const char *key, json_t *ret_rows)
{
    bool last = false;
    int r = EXIT_DONE;

    while (r == EXIT_DONE && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = ret_rows ? session_receive_raw(session, &reply) : session_receive(session, &reply);
        if (r == EXIT_DONE && show)
            r = session_show(session, show, reply.parameters);
        if (r == EXIT_DONE && ret_rows &&
            json_array_extend(ret_rows, json_object_get(reply.parameters, key)) < 0)
            r = session_bad_reply();
        last = !reply.continues;
    }
    return r;
}

int list_call(struct session *session, const char *layer, output_function show, const char *key,
              json_t *ret_rows)
{
    int r = session_send(session, "List",
                         json_pack("{s:s*, s:s*}", "model", session->subject.model, "layer", layer),
                         true, NULL);
    return r == EXIT_DONE ? receive(session, show, key, ret_rows) : r;
}

int list_call_used(struct session *session, json_t *ret_layers)
{
    int r = session_send(session, "List",
                         json_pack("{s:s, s:b}", "model", session->subject.model, "used", 1), true,
                         NULL);
    return r == EXIT_DONE ? receive(session, NULL, "layers", ret_layers) : r;
}
