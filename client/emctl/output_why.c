/* Explains in sentences why layers are not in the arena. */
#include "client/emctl/output.h"

#include "client/library/error_text.h"
#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { SHOWN_MAX = 10, TIME_TEXT_MAX = 80, WHO_TEXT_MAX = USER_NAME_MAX + 80 };

/* "at 14:03:07 (5 s ago)", or with the date if that is a day ago. */
static const char *describe_time(uint64_t at_usec, char text[static TIME_TEXT_MAX])
{
    uint64_t now_usec = clock_realtime_usec();
    uint64_t ago_sec = now_usec > at_usec ? (now_usec - at_usec) / 1000000 : 0;
    time_t at = (time_t)(at_usec / 1000000);
    struct tm local;

    if (!localtime_r(&at, &local))
        return "at an unknown time";
    if (ago_sec >= 24 * 60 * 60) {
        strftime(text, TIME_TEXT_MAX, "on %Y-%m-%d at %H:%M:%S", &local);
        return text;
    }
    size_t n = strftime(text, TIME_TEXT_MAX, "at %H:%M:%S", &local);
    if (ago_sec < 120)
        snprintf(text + n, TIME_TEXT_MAX - n, " (%" PRIu64 " s ago)", ago_sec);
    else if (ago_sec < 2 * 60 * 60)
        snprintf(text + n, TIME_TEXT_MAX - n, " (%" PRIu64 " minutes ago)", ago_sec / 60);
    else
        snprintf(text + n, TIME_TEXT_MAX - n, " (%" PRIu64 " hours ago)", ago_sec / 3600);
    return text;
}

/* "alice (pid 4711)"; NULL if no client asked. */
static const char *describe_who(const json_t *reason, char text[static WHO_TEXT_MAX])
{
    char buffer[USER_NAME_MAX];
    const char *user = error_text_user(reason, buffer);

    if (!user)
        return NULL;
    snprintf(text, WHO_TEXT_MAX, "%s (pid %" PRIu64 ")", user, error_text_number(reason, "pid"));
    return text;
}

static void show_eviction(FILE *stream, const json_t *reason)
{
    char who_text[WHO_TEXT_MAX];
    const char *who = describe_who(reason, who_text);
    const char *to = error_text_string(reason, "to", NULL);
    const char *method = error_text_string(reason, "method", "?");

    if (!to && who)
        fprintf(stream, " because %s called %s.\n", who, method);
    else if (!to)
        fputs(" on request.\n", stream);
    else if (who)
        fprintf(stream, " to make room for %s, which %s requested with %s. Policy: %s.\n", to, who,
                method, error_text_string(reason, "policy", "?"));
    else
        fprintf(stream, " to make room for %s. Policy: %s.\n", to,
                error_text_string(reason, "policy", "?"));
}

static const char *explain_decision(const char *decision)
{
    if (strcmp(decision, "busy") == 0)
        return "there was no room beside layers that clients held or that were being loaded";
    if (strcmp(decision, "must-unload") == 0)
        return "other layers would have had to be evicted, and on-full is ask";
    if (strcmp(decision, "out-of-memory") == 0)
        return "it is larger than the whole arena";
    return decision;
}

static void show_refusal(FILE *stream, const char *name, const char *when, const json_t *reason)
{
    char who_text[WHO_TEXT_MAX];
    const char *who = describe_who(reason, who_text);

    fprintf(stream, "A request for %s", name);
    if (who)
        fprintf(stream, " by %s with %s", who, error_text_string(reason, "method", "?"));
    fprintf(stream, " was refused %s: %s.\n", when,
            explain_decision(error_text_string(reason, "decision", "?")));
}

/* `layer` is what the reader asked about; NULL: a whole model. */
static void show_reason(FILE *stream, const char *layer, const json_t *reason)
{
    const char *what = error_text_string(reason, "what", "?");
    const char *name = layer ? "It" : error_text_string(reason, "layer", "The model");
    uint64_t n_layers = error_text_number(reason, "layers");
    char time_text[TIME_TEXT_MAX];
    const char *when = describe_time(error_text_number(reason, "atUsec"), time_text);

    if (strcmp(what, "trimmed") == 0) {
        fprintf(stream, "%s was evicted %s because memory was short. on-pressure: trim.\n", name,
                when);
    } else if (strcmp(what, "evicted") == 0) {
        fprintf(stream, "%s was evicted %s", name, when);
        show_eviction(stream, reason);
    } else if (strcmp(what, "flushed") == 0 && layer) {
        fprintf(stream, "It was evicted %s, as one of %" PRIu64 " layer%s that nobody held,", when,
                n_layers, output_plural((json_int_t)n_layers));
        show_eviction(stream, reason);
    } else if (strcmp(what, "flushed") == 0) {
        fprintf(stream, "All %" PRIu64 " layer%s of all models that nobody held were evicted %s",
                n_layers, output_plural((json_int_t)n_layers), when);
        show_eviction(stream, reason);
    } else if (strcmp(what, "abandoned") == 0) {
        fprintf(stream,
                "The load of %s ended %s before all bytes were read: it failed or was cancelled.\n",
                layer ? "it" : name, when);
    } else if (strcmp(what, "refused") == 0) {
        show_refusal(stream, layer ? "it" : name, when, reason);
    } else if (strcmp(what, "model-removed") == 0) {
        fprintf(stream, "The model was unloaded %s", when);
        show_eviction(stream, reason);
    } else {
        fprintf(stream, "%s: %s %s.\n", name, what, when);
    }
}

static void show_since(FILE *stream, const json_t *reply)
{
    char time_text[TIME_TEXT_MAX];
    fprintf(stream, "The daemon has its decisions since then only: %s.\n",
            describe_time(error_text_number(reply, "sinceAtUsec"), time_text));
}

static void show_layer(FILE *stream, const struct subject *subject, const json_t *reply,
                       const json_t *reasons)
{
    const char *state = error_text_string(reply, "state", "?");
    uint64_t used_usec = error_text_number(reply, "usedAtUsec");
    bool is_absent = strcmp(state, "absent") == 0;
    bool was_loaded = json_is_true(json_object_get(reply, "wasLoaded"));
    bool is_explained = false;
    char time_text[TIME_TEXT_MAX];
    const json_t *reason;
    size_t i;

    fprintf(stream, "%s/%s is %s.\n", subject->model, subject->layer,
            is_absent                       ? "not in the arena"
            : strcmp(state, "loading") == 0 ? "being loaded"
                                            : "in the arena");
    if (used_usec > 0)
        fprintf(stream, "It was last used %s.\n", describe_time(used_usec, time_text));
    json_array_foreach (reasons, i, reason) {
        const char *what = error_text_string(reason, "what", "?");
        show_reason(stream, subject->layer, reason);
        is_explained |= strcmp(what, "evicted") == 0 || strcmp(what, "flushed") == 0 ||
                        strcmp(what, "trimmed") == 0;
    }
    if (is_absent && !was_loaded)
        fputs("It has not been loaded since the model was registered or the daemon started.\n",
              stream);
    else if (is_absent && !is_explained)
        show_since(stream, reply);
}

static void show_model(FILE *stream, const struct subject *subject, const json_t *reply,
                       const json_t *reasons)
{
    uint64_t n_layers = error_text_number(reply, "layers");
    uint64_t total = error_text_number(reply, "reasonsTotal");
    const json_t *reason;
    size_t i;

    if (json_is_true(json_object_get(reply, "registered")))
        fprintf(stream,
                "%s is registered; %" PRIu64 " of its %" PRIu64 " layer%s %s in the arena.\n",
                subject->model, error_text_number(reply, "residentLayers"), n_layers,
                output_plural((json_int_t)n_layers), n_layers == 1 ? "is" : "are");
    else
        fprintf(stream, "%s is not registered.\n", subject->model);
    json_array_foreach (reasons, i, reason) {
        if (i == SHOWN_MAX)
            break;
        show_reason(stream, NULL, reason);
    }
    if (total > i)
        fprintf(stream, "%" PRIu64 " earlier decision%s; --json shows more of them.\n", total - i,
                output_plural((json_int_t)(total - i)));
    if (total == 0) {
        fputs("No layer of it was evicted or refused.\n", stream);
        show_since(stream, reply);
    }
}

int output_text_why(struct output *output, const struct subject *subject, json_t *reply)
{
    const json_t *reasons = json_object_get(reply, "reasons");

    if (!json_is_array(reasons))
        return -EBADMSG;
    if (subject->layer)
        show_layer(output->stream, subject, reply, reasons);
    else
        show_model(output->stream, subject, reply, reasons);
    return 0;
}
