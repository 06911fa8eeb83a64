/* set-policy: sets which layers are evicted when the arena is full, and whether without asking.
 * Without an argument, shows the settings. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/error.h"
#include "common/policy_names.h"

/* Reads the settings from Stats, which every member may call. */
static int show_policy(struct session *session)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = session_send(session, "Stats", json_object(), false, NULL);

    if (r == EXIT_DONE)
        r = session_receive(session, &reply);
    if (r != EXIT_DONE)
        return r;
    json_t *scheduler = json_object_get(reply.parameters, "scheduler");
    json_t *policy = json_pack("{s:O, s:O}", "policy", json_object_get(scheduler, "policy"),
                               "onFull", json_object_get(scheduler, "onFull"));
    if (!policy)
        return session_bad_reply();
    r = session_show(session, session->output.ops->policy, policy);
    json_decref(policy);
    return r;
}

int verb_set_policy(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    const char *policy = arguments->operands[0];

    if (!policy && !arguments->on_full)
        return show_policy(session);
    if (policy && !arguments_is_policy(policy))
        return error_message_print(EXIT_USAGE,
                                   "there is no policy '%s'; the policies are " POLICY_NAMES(
                                       ", ", " and ") ". Try 'emctl set-policy --help'.",
                                   policy);
    session->subject.policy = policy;
    return session_run(session, "SetPolicy",
                       json_pack("{s:s*, s:s*}", "policy", policy, "onFull", arguments->on_full),
                       session->output.ops->policy_set);
}
