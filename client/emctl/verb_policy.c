/* set-policy: what gives way when the arena is full, and whether. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/error.h"

int verb_set_policy(struct session *session)
{
    const struct arguments *arguments = session->arguments;

    session->subject.policy = arguments->operands[0];
    if (!session->subject.policy && !arguments->on_full)
        return error_message_print(EXIT_USAGE, "set-policy needs POLICY or --on-full. "
                                               "Try 'emctl set-policy --help'.");
    return session_run(
        session, "SetPolicy",
        json_pack("{s:s*, s:s*}", "policy", session->subject.policy, "onFull", arguments->on_full),
        session->output.ops->policy);
}
