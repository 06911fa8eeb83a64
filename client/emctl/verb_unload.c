/* unload-model, unload-layer and reset. */
#include "client/emctl/verb.h"

int verb_unload_model(struct session *session)
{
    session_name_model(session, session->arguments->operands[0]);
    return session_run(session, "UnloadModel", json_pack("{s:s}", "model", session->subject.model),
                       session->output.ops->unload);
}

int verb_unload_layer(struct session *session)
{
    session_name_model(session, session->arguments->operands[0]);
    session->subject.layer = session->arguments->operands[1];
    return session_run(
        session, "UnloadLayer",
        json_pack("{s:s, s:s}", "model", session->subject.model, "layer", session->subject.layer),
        session->output.ops->unload);
}

int verb_reset(struct session *session)
{
    return session_run(session, "Reset", json_object(), session->output.ops->reset);
}
