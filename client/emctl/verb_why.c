/* why: why a layer is not in the arena, or what happened to a model's layers. */
#include "client/emctl/verb.h"

int verb_why(struct session *session)
{
    session_name_model(session, session->arguments->operands[0]);
    session->subject.layer = session->arguments->operands[1];
    return session_run(
        session, "Why",
        json_pack("{s:s, s:s*}", "model", session->subject.model, "layer", session->subject.layer),
        session->output.ops->why);
}
