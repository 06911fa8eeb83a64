#include "client/emctl/plan_trace.h"

#include "client/emctl/error_message.h"
#include "client/emctl/replay_reply.h"
#include "client/library/regular_file.h"
#include "common/cleanup.h"
#include "common/units.h"

#include <errno.h>
#include <string.h>

static int read_trace(const char *path, struct route_trace *ret)
{
    struct route_failure failure;
    _cleanup_(closep) int fd = regular_file_open(path);

    if (fd < 0)
        return error_message_print(EXIT_OTHER, "%s: %s.", path,
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
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "capacityBytes", (json_int_t)capacity_bytes,
                     "layers", (json_int_t)trace->n_layers, "tokens", (json_int_t)trace->n_steps,
                     "uses", (json_int_t)trace->n_uses, "expertBytes", (json_int_t)expert_bytes,
                     "denseBytes", (json_int_t)dense_bytes);
}

static int replay_all(struct session *session, const struct route_trace *trace)
{
    char needed[SIZE_TEXT_MAX];
    uint64_t capacity_bytes;

    size_parse(session->arguments->capacity, &capacity_bytes);
    json_t *reply = describe(trace, capacity_bytes);
    int r = replay_reply(session, trace, capacity_bytes, reply);
    json_decref(reply);
    if (r == EXIT_OUT_OF_MEMORY)
        error_message_print(r, "out of memory: a token needs up to %s of experts at once.",
                            size_format(replay_least_bytes(trace), needed));
    return r;
}

int plan_trace(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    _cleanup_(route_trace_done) struct route_trace trace = {0};

    if (!arguments->capacity || arguments->n_operands > 0 || arguments->policy ||
        arguments->passes || arguments->compute || arguments->on_full || arguments->name ||
        arguments->experts)
        return error_message_print(EXIT_USAGE, "plan --trace needs --capacity, and takes only "
                                               "--disk-rate besides. Try 'emctl plan --help'.");
    int r = read_trace(arguments->trace, &trace);
    return r == EXIT_DONE ? replay_all(session, &trace) : r;
}
