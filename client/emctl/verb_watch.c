/* watch: events as they happen, until one of the two sides ends it. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/error.h"

int verb_watch(struct session *session)
{
    bool last = false;
    int r = session_wait_forever(session, -1);

    if (r == EXIT_DONE)
        r = session_send(session, "Watch", json_object(), true, NULL);
    while (r == EXIT_DONE && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = session_receive(session, &reply);
        if (r == EXIT_DONE)
            r = session_show(session, session->output.ops->event, reply.parameters);
        last = !reply.continues;
    }
    /* The daemon ends a watch only if emctl reads too slowly. */
    return r == EXIT_DONE
               ? error_message_print(EXIT_OTHER,
                                     "emctl was too slow, so the daemon has ended the watch.")
               : r;
}
