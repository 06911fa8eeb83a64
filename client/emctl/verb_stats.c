/* stats: shows the daemon's counters and the operating system's figures for the daemon. */
#include "client/emctl/repeat.h"
#include "client/emctl/verb.h"

static int stats(struct session *session)
{
    return session_run(session, "Stats", json_object(), session->output.ops->stats);
}

int verb_stats(struct session *session)
{
    return session->arguments->watch ? repeat(session, stats) : stats(session);
}
