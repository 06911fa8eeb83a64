/* version: shows the version of emctl, and that of the daemon if one answers. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/error.h"

#include <errno.h>
#include <string.h>

int verb_version(struct session *session)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = session_try_connect(session);

    if (r == -ENOMEM)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    /* It is not an error if no daemon answers. */
    bool is_connected = r == 0;
    r = EXIT_DONE;
    if (is_connected) {
        r = session_send(session, "org.varlink.service.GetInfo", json_object(), false, NULL);
        if (r == EXIT_DONE)
            r = session_receive(session, &reply);
    }
    if (r != EXIT_DONE)
        return r;
    json_t *versions =
        json_pack("{s:s, s:O*}", "emctl", EDGEMIND_VERSION, "daemon", reply.parameters);
    if (!versions)
        return error_message_print(EXIT_OTHER, "out of memory.");
    r = session_show(session, session->output.ops->version, versions);
    json_decref(versions);
    return r;
}
