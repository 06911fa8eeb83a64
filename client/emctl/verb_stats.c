/* stats: shows the daemon's counters and the operating system's figures for the daemon. */
#include "client/emctl/verb.h"

int verb_stats(struct session *session)
{
    return session_run(session, "Stats", json_object(), session->output.ops->stats);
}
