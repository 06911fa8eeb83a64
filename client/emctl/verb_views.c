/* views: the mappings of all programs that have the arena's pages in them. */
#include "client/emctl/verb.h"

int verb_views(struct session *session)
{
    return session_run(session, "Views", json_object(), session->output.ops->views);
}
