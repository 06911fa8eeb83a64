#include "client/emctl/plan_trace.h"

#include "client/emctl/error_message.h"
#include "client/emctl/replay.h"
#include "client/library/regular_file.h"
#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/units.h"

#include <errno.h>
#include <string.h>

/* `path` is safe to show. */
static int read_trace(const struct arguments *arguments, const char *path, struct route_trace *ret)
{
    struct route_failure failure;
    _cleanup_(closep) int fd = regular_file_open(arguments->trace);

    if (fd < 0)
        return error_message_print(fd == -ENOENT ? EXIT_NOT_FOUND : EXIT_OTHER, "%s: %s.", path,
                                   fd == -EINVAL ? "it is not a regular file" : strerror(-fd));
    _cleanup_(fclosep) FILE *file = fdopen(fd, "r");
    if (!file)
        return error_message_print(EXIT_OTHER, "%s.", strerror(errno));
    TAKE_FD(fd);
    int r = route_trace_read(file, ret, &failure);
    if (r == -EBADMSG && failure.line > 0)
        return error_message_print(EXIT_INVALID_DEFINITION, "%s is no route trace: line %lu: %s.",
                                   path, failure.line, failure.what);
    if (r == -EBADMSG)
        return error_message_print(EXIT_INVALID_DEFINITION, "%s is no route trace: %s.", path,
                                   failure.what);
    return r < 0 ? error_message_print(EXIT_OTHER, "%s: %s.", path, strerror(-r)) : EXIT_DONE;
}

static json_t *describe(const struct route_trace *trace, uint64_t capacity_bytes)
{
    uint64_t expert_bytes = 0, dense_bytes = 0;

    for (uint32_t i = 0; i < trace->n_layers; i++) {
        expert_bytes += trace->layers[i].expert_bytes * trace->layers[i].n_experts;
        dense_bytes += trace->layers[i].dense_bytes;
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:[]}", "capacityBytes",
                     (json_int_t)capacity_bytes, "layers", (json_int_t)trace->n_layers, "tokens",
                     (json_int_t)trace->n_steps, "uses", (json_int_t)trace->n_uses, "expertBytes",
                     (json_int_t)expert_bytes, "denseBytes", (json_int_t)dense_bytes, "policies");
}

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

static int replay_all(struct session *session, const struct route_trace *trace)
{
    const struct arguments *arguments = session->arguments;
    uint64_t capacity_bytes, disk_rate = 0;
    char needed[SIZE_TEXT_MAX];

    size_parse(arguments->capacity, &capacity_bytes);
    if (arguments->disk_rate)
        size_parse(arguments->disk_rate, &disk_rate);
    json_t *reply = describe(trace, capacity_bytes);
    int r = reply ? 0 : -ENOMEM;
    for (enum replay_policy policy = 0; r == 0 && policy < REPLAY_POLICIES; policy++) {
        struct replay replay;
        r = replay_run(trace, policy, capacity_bytes, &replay);
        if (r == 0)
            json_array_append_new(json_object_get(reply, "policies"),
                                  describe_policy(trace, policy, &replay, disk_rate));
    }
    if (r == -ENOSPC)
        r = error_message_print(EXIT_OUT_OF_MEMORY,
                                "out of memory: a token needs up to %s of experts at once.",
                                size_format(replay_least_bytes(trace), needed));
    else if (r < 0)
        r = error_message_print(EXIT_OTHER, "%s.", strerror(-r));
    else
        r = session_show(session, session->output.ops->replay, reply);
    json_decref(reply);
    return r;
}

int plan_trace(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    _cleanup_(route_trace_done) struct route_trace trace = {0};

    if (!arguments->capacity || arguments->n_operands > 0 || arguments->policy ||
        arguments->passes || arguments->compute || arguments->on_full || arguments->name)
        return error_message_print(EXIT_USAGE, "plan --trace needs --capacity, and takes only "
                                               "--disk-rate besides. Try 'emctl plan --help'.");
    _cleanup_(freep) char *path = safe_text(arguments->trace);
    if (!path)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    int r = read_trace(arguments, path, &trace);
    return r == EXIT_DONE ? replay_all(session, &trace) : r;
}
