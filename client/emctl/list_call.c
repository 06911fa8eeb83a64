#include "client/emctl/list_call.h"

int list_call(struct session *session, const char *layer, output_function show, const char *key,
              json_t *ret_rows)
{
    bool last = false;
    int r = session_send(session, "List",
                         json_pack("{s:s*, s:s*}", "model", session->subject.model, "layer", layer),
                         true, NULL);

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
