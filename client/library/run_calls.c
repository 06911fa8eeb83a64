/* Invariant: a position that a function returns is within the run's model. */
#include "client/library/run_calls.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <errno.h>
#include <string.h>

int run_calls_begin(struct channel *channel, struct last_error *last_error, const char *model,
                    uint64_t index, char **ret_id, uint64_t *ret_n_layers)
{
    const struct error_subject subject = {.model = model};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    const char *id;
    json_int_t n_layers;

    json_t *parameters = channel_add(json_pack("{s:s}", "model", model), "at", (json_int_t)index);
    int r = channel_call(channel, "BeginRun", parameters, NULL, 0, &subject, last_error, &reply);
    if (r < 0)
        return r;
    r = json_read(reply.parameters, "{s:s, s:I}", "run", &id, "layers", &n_layers);
    if (r == 0 && (n_layers <= 0 || (uint64_t)n_layers <= index))
        r = -EBADMSG;
    if (r < 0)
        return channel_bad_reply(r, last_error);
    char *copy = strdup(id);
    if (!copy)
        return last_error_set(last_error, -ENOMEM, "%s", strerror(ENOMEM));
    *ret_id = copy;
    *ret_n_layers = (uint64_t)n_layers;
    return 0;
}

int run_calls_parse_place(const json_t *reply, uint64_t n_layers, uint64_t *ret_index,
                          uint64_t *ret_pass, bool *ret_hit)
{
    json_int_t index, pass;
    int hit;

    int r = json_read(reply, "{s:I, s:I, s:b}", "index", &index, "pass", &pass, "hit", &hit);
    if (r < 0)
        return r;
    if (index < 0 || (uint64_t)index >= n_layers || pass < 0)
        return -EBADMSG;
    *ret_index = (uint64_t)index;
    *ret_pass = (uint64_t)pass;
    *ret_hit = hit;
    return 0;
}

int run_calls_next(struct channel *channel, struct last_error *last_error, const char *model,
                   const char *id, uint64_t wait_usec, json_int_t fill, struct varlink_reply *reply)
{
    const struct error_subject subject = {.model = model};
    json_t *parameters = json_pack("{s:s}", "run", id);
    parameters = channel_add(parameters, "waitUsec", (json_int_t)wait_usec);
    parameters = channel_add(parameters, "fill", fill);
    return channel_call(channel, "Next", parameters, NULL, 0, &subject, last_error, reply);
}
