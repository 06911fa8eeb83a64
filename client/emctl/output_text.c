/* Replies for people: one sentence for each action. output_tables.c has the tables of models,
 * layers and tensors, output_plan.c the plans, and output_stats.c the statistics screen. */
#include "client/emctl/output.h"

#include "common/units.h"

#include <errno.h>
#include <stdbool.h>

/* " in 0.52 s (1.9 GiB/s)". There is no rate if some layers were resident already, because those
 * took no time. There is neither for a few bytes, because the call takes longer than the load. */
static void show_pace(struct output *output, const struct subject *subject, json_int_t bytes,
                      bool all_loaded)
{
    enum { RATED_BYTES_MIN = 1 << 20 };
    double seconds = (double)subject->elapsed_usec / 1000000;
    char text[SIZE_TEXT_MAX];

    if (subject->elapsed_usec == 0 || bytes < RATED_BYTES_MIN)
        return;
    if (seconds < 0.1)
        fprintf(output->stream, " in %.0f ms", seconds * 1000);
    else
        fprintf(output->stream, " in %.*f s", seconds < 10 ? 2 : 0, seconds);
    if (all_loaded && (double)bytes / seconds < 1e18)
        fprintf(output->stream, " (%s/s)",
                output_size((json_int_t)((double)bytes / seconds), text));
}

static int show_load_model(struct output *output, const struct subject *subject, json_t *reply)
{
    const char *model;
    json_int_t layers, bytes, hits, must_unload, evicted, resident;
    char text[SIZE_TEXT_MAX];

    if (json_unpack(reply, "{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "model", &model, "layersDone",
                    &layers, "bytesDone", &bytes, "hits", &hits, "mustUnload", &must_unload,
                    "evicted", &evicted, "resident", &resident) < 0)
        return -EBADMSG;
    fprintf(output->stream, "%s: %" JSON_INTEGER_FORMAT " layer%s, %s loaded", model, layers,
            output_plural(layers), output_size(bytes, text));
    bool is_zeros = bytes > 0 && json_integer_value(json_object_get(reply, "zeroBytes")) >= bytes;
    show_pace(output, subject, bytes, hits == 0 && !is_zeros);
    if (is_zeros)
        fputs(" (zeros: the model has no weights)", output->stream);
    if (hits > 0)
        fprintf(output->stream, " (%" JSON_INTEGER_FORMAT " %s there already)", hits,
                hits == 1 ? "was" : "were");
    if (must_unload > 0)
        fprintf(output->stream,
                "; %" JSON_INTEGER_FORMAT " must-unload evicted %" JSON_INTEGER_FORMAT " layer%s",
                must_unload, evicted, output_plural(evicted));
    fprintf(output->stream, "; %" JSON_INTEGER_FORMAT " resident\n", resident);
    return 0;
}

static int show_already_loaded(struct output *output, const struct subject *subject, json_t *reply)
{
    (void)reply;
    fprintf(output->stream, "%s: is known already\n", subject->model);
    return 0;
}

static int show_load_layer(struct output *output, const struct subject *subject, json_t *reply)
{
    int hit, must_unload;
    json_int_t bytes, evicted, zero_bytes = -1; /* an older daemon does not tell it */
    char text[SIZE_TEXT_MAX];

    if (json_unpack(reply, "{s:b, s:I, s:b, s:I, s?I}", "hit", &hit, "bytes", &bytes, "mustUnload",
                    &must_unload, "evicted", &evicted, "zeroBytes", &zero_bytes) < 0)
        return -EBADMSG;
    fprintf(output->stream, "%s/%s: %s %s", subject->model, subject->layer,
            output_size(bytes, text), hit ? "was there already" : "loaded");
    bool is_told = zero_bytes >= 0, is_zeros = bytes > 0 && zero_bytes >= bytes;
    if (!hit)
        show_pace(output, subject, bytes, is_told && !is_zeros);
    if (is_zeros)
        fputs(" (zeros: the layer has no weights)", output->stream);
    if (must_unload)
        fprintf(output->stream, "; must-unload evicted %" JSON_INTEGER_FORMAT " layer%s", evicted,
                output_plural(evicted));
    fputc('\n', output->stream);
    return 0;
}

static int show_unload(struct output *output, const struct subject *subject, json_t *reply)
{
    (void)reply;
    fprintf(output->stream, "%s%s%s: unloaded\n", subject->model, subject->layer ? "/" : "",
            subject->layer ? subject->layer : "");
    return 0;
}

static int show_reset(struct output *output, const struct subject *subject, json_t *reply)
{
    json_int_t evicted;

    (void)subject;
    if (json_unpack(reply, "{s:I}", "evicted", &evicted) < 0)
        return -EBADMSG;
    fprintf(output->stream, "%" JSON_INTEGER_FORMAT " layer%s evicted\n", evicted,
            output_plural(evicted));
    return 0;
}

/* "14:03:07.123  layer-loaded     ffn10/dense_3  8.0 MiB  message" */
static int show_one_event(FILE *stream, json_t *event)
{
    const char *what, *model = json_string_value(json_object_get(event, "model"));
    const char *layer = json_string_value(json_object_get(event, "layer"));
    const char *message = json_string_value(json_object_get(event, "message"));
    const json_t *bytes = json_object_get(event, "bytes");
    json_int_t at_usec;
    char clock[CLOCK_TEXT_MAX], text[SIZE_TEXT_MAX];

    if (json_unpack(event, "{s:s, s:I}", "event", &what, "atUsec", &at_usec) < 0 || at_usec < 0)
        return -EBADMSG;
    if (!*output_clock((uint64_t)at_usec, clock))
        return -EBADMSG;
    fprintf(stream, "%s.%03d  %-15s", clock, (int)(at_usec % 1000000 / 1000), what);
    if (model || layer)
        fprintf(stream, "  %s%s%s", model ? model : "", model && layer ? "/" : "",
                layer ? layer : "");
    if (json_is_integer(bytes))
        fprintf(stream, "  %s", output_size(json_integer_value(bytes), text));
    if (message)
        fprintf(stream, "  %s", message);
    fputc('\n', stream);
    return 0;
}

static int show_event(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *events = json_object_get(reply, "events"), *event;
    json_int_t missed = json_integer_value(json_object_get(reply, "missed"));
    size_t i;

    (void)subject;
    json_array_foreach (events, i, event) {
        int r = show_one_event(output->stream, event);
        if (r < 0)
            return r;
    }
    if (missed > 0)
        fprintf(output->stream, "%" JSON_INTEGER_FORMAT " event%s missed\n", missed,
                output_plural(missed));
    return 0;
}

static int show_policy(struct output *output, const struct subject *subject, json_t *reply)
{
    const char *policy, *on_full;

    (void)subject;
    if (json_unpack(reply, "{s:s, s:s}", "policy", &policy, "onFull", &on_full) < 0)
        return -EBADMSG;
    fprintf(output->stream, "policy %s, on full %s\n", policy, on_full);
    return 0;
}

static int show_version(struct output *output, const struct subject *subject, json_t *versions)
{
    const char *own, *product = NULL, *version = NULL;

    (void)subject;
    if (json_unpack(versions, "{s:s, s?{s:s, s:s}}", "emctl", &own, "daemon", "product", &product,
                    "version", &version) < 0)
        return -EBADMSG;
    fprintf(output->stream, "emctl %s\n", own);
    if (version)
        fprintf(output->stream, "%s %s\n", product, version);
    return 0;
}

static int say_nothing(struct output *output, const struct subject *subject, json_t *reply)
{
    (void)output;
    (void)subject;
    (void)reply;
    return 0;
}

#define WHAT_WAS_ASKED_FOR                                                                     \
    .list = output_text_list, .list_end = output_text_list_end,                                \
    .list_layer = output_text_list_layer, .list_tensors = output_text_list_tensors,            \
    .list_units = output_text_list_units, .list_unit_groups = output_text_list_unit_groups,    \
    .stats = output_text_stats, .views = output_text_views, .host = output_text_host,          \
    .hosts_end = output_text_hosts_end, .why = output_text_why, .event = show_event,           \
    .version = show_version, .plan = output_text_plan, .plan_passes = output_text_plan_passes, \
    .plan_policy = output_text_plan_policy, .plan_comparison = output_text_plan_comparison,    \
    .replay = output_text_replay

const struct output_ops output_quiet = {
    WHAT_WAS_ASKED_FOR,        .load_model = say_nothing, .load_layer = say_nothing,
    .unload = say_nothing,     .reset = say_nothing,      .already_loaded = say_nothing,
    .policy_set = say_nothing, .policy = show_policy,     .error = say_nothing,
};

const struct output_ops output_text = {
    WHAT_WAS_ASKED_FOR,        .load_model = show_load_model, .load_layer = show_load_layer,
    .unload = show_unload,     .reset = show_reset,           .already_loaded = show_already_loaded,
    .policy_set = show_policy, .policy = show_policy,         .error = say_nothing,
};
