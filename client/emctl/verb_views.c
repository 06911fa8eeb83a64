/* views: shows the views of all programs. */
#include "client/emctl/verb.h"

int verb_views(struct session *session)
{
    return session_run(session, "Views", json_object(), session->output.ops->views);
}
