/* watch: events as they happen. Goes on when the daemon restarts. */
#include "client/emctl/error_message.h"
#include "client/emctl/reconnect.h"
#include "client/emctl/verb.h"
#include "common/error.h"

/* Shows events until the connection ends. `ret_began`: the daemon has answered. */
static int follow(struct session *session, bool *ret_began)
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
        *ret_began = *ret_began || r == EXIT_DONE;
    }
    /* The daemon ends a watch only if emctl reads too slowly. */
    return r == EXIT_DONE
               ? error_message_print(EXIT_OTHER,
                                     "emctl was too slow, so the daemon has ended the watch.")
               : r;
}

int verb_watch(struct session *session)
{
    bool began = false;
    int r = follow(session, &began);

    while (r == EXIT_NO_DAEMON && began) {
        r = reconnect(session);
        if (r == EXIT_DONE)
            r = follow(session, &began);
    }
    return r;
}
