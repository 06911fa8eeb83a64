#include "daemon/methods/long_reply.h"

#include "proto/message.h"

#include <errno.h>

struct long_reply {
    struct job job;
    struct call *call; /* NULL: cancelled, but the job has not ended yet */
    struct workers *workers;
    struct reply_source *source;
    char *text; /* NULL: there was no memory for it */
    size_t n_bytes;
};

static int format(struct reply_source *source, char **ret_text, size_t *ret_bytes)
{
    int r = source->complete(source);
    return r < 0 ? r
                 : message_format_reply_fields(NULL, source->fields, source, false, ret_text,
                                               ret_bytes);
}

static int format_step(struct job *job, uint64_t index)
{
    struct long_reply *reply = (struct long_reply *)job;
    (void)index;
    return format(reply->source, &reply->text, &reply->n_bytes);
}

static void formatted(struct job *job, int error)
{
    struct long_reply *reply = (struct long_reply *)job;
    (void)error;
    if (reply->call)
        call_reply_text(reply->call, TAKE_PTR(reply->text), reply->n_bytes);
    free(reply->text);
    reply->source->free(reply->source);
    free(reply);
}

static void cancelled(void *context)
{
    struct long_reply *reply = context;
    reply->call = NULL;
    workers_cancel(reply->workers, &reply->job);
}

void long_reply_send(struct workers *workers, struct call *call, struct reply_source *source,
                     bool is_long)
{
    static const struct call_hooks hooks = {.cancelled = cancelled};
    struct long_reply *reply = is_long && !call_oneway(call) ? calloc(1, sizeof *reply) : NULL;
    if (!reply) {
        char *text = NULL;
        size_t n_bytes = 0;
        if (!call_oneway(call))
            (void)format(source, &text, &n_bytes);
        source->free(source);
        call_reply_text(call, text, n_bytes);
        return;
    }
    *reply = (struct long_reply){.job = {.n_steps = 1, .step = format_step, .done = formatted},
                                 .call = call,
                                 .workers = workers,
                                 .source = source};
    call_set_hooks(call, &hooks, reply);
    workers_submit(workers, &reply->job);
}
