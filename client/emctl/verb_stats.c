/* stats: what the daemon counts, and what the operating system says of it. */
#include "client/emctl/verb.h"

int verb_stats(struct session *session)
{
    return session_run(session, "Stats", json_object(), session->output.ops->stats);
}
