/* Prints the replies as they came: compact, one per line, keys in the daemon's order. */
#include "client/emctl/output.h"

#include "common/json.h"

#include <errno.h>

static int print(struct output *output, const struct subject *subject, json_t *parameters)
{
    /* With 15 digits every decimal of the daemon is printed without a change; 17 digits would turn
     * 0.1 into 0.10000000000000001. On a terminal, names must not have control characters. */
    size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(15);

    (void)subject;
    if (output->width > 0)
        flags |= JSON_ENSURE_ASCII;
    char *text = json_format(parameters, flags);
    if (!text)
        return -ENOMEM;
    fputs(text, output->stream);
    fputc('\n', output->stream);
    free(text);
    return 0;
}

static int nothing(struct output *output, const struct subject *subject, json_t *parameters)
{
    (void)output;
    (void)subject;
    (void)parameters;
    return 0;
}

const struct output_ops output_json = {
    .load_model = print,
    .load_layer = print,
    .unload = print,
    .reset = print,
    .already_loaded = nothing, /* the error was printed */
    .list = print,
    .list_end = nothing,
    .list_layer = nothing,
    .list_tensors = print,
    .list_units = print,
    .stats = print,
    .views = print,
    .why = print,
    .event = print,
    .policy = print,
    .policy_set = print,
    .version = print,
    .plan = print,
    .plan_passes = nothing,
    .plan_policy = print,
    .plan_comparison = nothing,
    .host = print,
    .hosts_end = nothing,
    .replay = print,
    .error = print,
};
