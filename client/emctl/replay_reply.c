#include "client/emctl/replay_reply.h"

#include "client/emctl/error_message.h"
#include "common/units.h"

#include <errno.h>
#include <string.h>

/* `disk_rate` 0: unknown. */
static json_t *describe_policy(const struct route_trace *trace, enum replay_policy policy,
                               const struct replay *replay, uint64_t disk_rate)
{
    json_t *result =
        json_pack("{s:s, s:I, s:I, s:I}", "policy", replay_policy_name(policy), "hits",
                  (json_int_t)replay->n_hits, "bytesRead", (json_int_t)replay->read_bytes,
                  "bytesPerToken", (json_int_t)(replay->read_bytes / trace->n_steps));

    if (disk_rate > 0 && replay->read_bytes > 0)
        json_object_set_new(
            result, "tokensPerSecond",
            json_real((double)disk_rate * trace->n_steps / (double)replay->read_bytes));
    return result;
}

int replay_reply(struct session *session, const struct route_trace *trace, uint64_t capacity_bytes,
                 json_t *reply)
{
    const char *rate_text = session->arguments->disk_rate;
    json_t *policies = json_array();
    uint64_t disk_rate = 0;
    int r = 0;

    if (rate_text)
        size_parse(rate_text, &disk_rate);
    for (enum replay_policy policy = 0; r == 0 && policy < REPLAY_POLICIES; policy++) {
        struct replay replay;
        r = replay_run(trace, policy, capacity_bytes, &replay);
        if (r == 0)
            json_array_append_new(policies, describe_policy(trace, policy, &replay, disk_rate));
    }
    if (json_object_set_new(reply, "policies", policies) < 0 && r == 0)
        r = -ENOMEM;
    if (r == -ENOSPC)
        return EXIT_OUT_OF_MEMORY;
    if (r == -E2BIG)
        return error_message_print(EXIT_OTHER, "the model has more than 1000000 experts.");
    if (r < 0)
        return error_message_print(EXIT_OTHER, "%s.", strerror(-r));
    return session_show(session, session->output.ops->replay, reply);
}
