/* Owns the messages for what the daemon answers; explain_local.c has the others. Invariant: each is
 * one paragraph that ends with a full stop; a definition's mistake is the exception, as
 * FILE:LINE:COLUMN: is what editors read. Parameters are taken as they come: one that is missing
 * makes a message poorer, never wrong. */
#include "client/explain.h"

#include "client/safe.h"
#include "client/session.h"
#include "common/error.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define CONFIG_FILE "/etc/edgemind/edgemindd.conf"

enum { NAMED_LAYERS = 3 }; /* of a list that may be long */

static const char *text_of(const json_t *parameters, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(parameters, key));
    return text && *text ? text : otherwise;
}

static uint64_t number_of(const json_t *parameters, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(parameters, key));
    return number > 0 ? (uint64_t)number : 0;
}

static char *size_of(const json_t *parameters, const char *key, char text[static SIZE_TEXT_MAX])
{
    return size_format(number_of(parameters, key), text);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* "layer dense_3", or "the layer" when the daemon did not say which. */
static void print_layer(const json_t *parameters, const struct subject *subject)
{
    const char *layer = text_of(parameters, "layer", subject->layer);
    fprintf(stderr, layer ? "layer %s" : "the layer", layer);
}

/* "ffn10/dense_0, ffn10/dense_1 and 4 more" */
static void print_layers(const json_t *layers, uint64_t total)
{
    json_t *layer;
    size_t i;

    json_array_foreach (layers, i, layer) {
        if (i == NAMED_LAYERS)
            break;
        fprintf(stderr, "%s%s/%s", i > 0 ? ", " : "", text_of(layer, "model", "?"),
                text_of(layer, "layer", "?"));
    }
    if (total > i)
        fprintf(stderr, " and %" PRIu64 " more", total - i);
}

static void explain_out_of_memory(const json_t *parameters, const struct subject *subject)
{
    char needed[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX];

    fputs("emctl: out of memory: ", stderr);
    print_layer(parameters, subject);
    fprintf(stderr,
            " needs %s, the arena has %s. Raise capacity= in " CONFIG_FILE
            ", or split the layer.\n",
            size_of(parameters, "requestedBytes", needed),
            size_of(parameters, "capacityBytes", capacity));
}

static void explain_must_unload(const json_t *parameters, const struct subject *subject)
{
    char needed[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX];
    uint64_t total = number_of(parameters, "victimsTotal");

    fputs("emctl: must unload: ", stderr);
    print_layer(parameters, subject);
    fprintf(stderr, " needs %s; of the arena's %s, %s is free. ",
            size_of(parameters, "requestedBytes", needed),
            size_of(parameters, "capacityBytes", capacity),
            size_of(parameters, "availableBytes", available));
    fprintf(stderr, "%" PRIu64 " layer%s would have to give way: ", total, plural(total));
    print_layers(json_object_get(parameters, "victims"), total);
    fputs(". Let them with --on-full=evict, or unload what you can spare.\n", stderr);
}

/* "ffn10/dense_0 is held by alice (pid 4711), ffn10/dense_1 is being loaded and 4 more" */
static void explain_busy(const json_t *parameters)
{
    const json_t *leases = json_object_get(parameters, "leases");
    uint64_t total = number_of(parameters, "leasesTotal");
    json_t *lease;
    size_t i;

    fputs("emctl: busy: ", stderr);
    json_array_foreach (leases, i, lease) {
        const char *user = text_of(lease, "user", NULL);
        uint64_t pid = number_of(lease, "pid");
        if (i == NAMED_LAYERS)
            break;
        fprintf(stderr, "%slayer %s/%s is %s", i > 0 ? ", " : "", text_of(lease, "model", "?"),
                text_of(lease, "layer", "?"),
                json_is_true(json_object_get(lease, "loading")) ? "being loaded"
                : user                                          ? "held by "
                                                                : "in use");
        if (user)
            fputs(user, stderr);
        if (user && pid > 0)
            fprintf(stderr, " (pid %" PRIu64 ")", pid);
    }
    if (i == 0)
        fputs("layers are in use or being loaded", stderr);
    else if (total > i)
        fprintf(stderr, " and %" PRIu64 " more", total - i);
    fputs(". Try again when that is over.\n", stderr);
}

static void explain_not_found(const json_t *parameters, const struct subject *subject)
{
    const char *kind = text_of(parameters, "kind", "model");
    const char *name = text_of(parameters, "name", "");

    if (strcmp(kind, "layer") == 0 && subject->model)
        fprintf(stderr, "emctl: model %s has no layer %s. 'emctl list %s' shows its layers.\n",
                subject->model, name, subject->model);
    else if (strcmp(kind, "model") == 0 && subject->file)
        fprintf(stderr,
                "emctl: there is no model %s ('emctl list' shows the models), and no such file; "
                "looked for it at: %s.\n",
                name, subject->file);
    else
        fprintf(stderr, "emctl: there is no %s %s. 'emctl list' shows the models.\n", kind, name);
}

/* As compilers print it, so that editors jump there. */
static void explain_invalid_definition(const json_t *parameters, const struct subject *subject)
{
    const char *path = text_of(parameters, "path", NULL);
    const char *message = text_of(parameters, "message", "invalid definition");
    uint64_t line = number_of(parameters, "line");
    size_t n = subject->model ? strlen(subject->model) : 0;

    /* The daemon knows weights that came alone by the model's name, the user by their file's. */
    if (n > 0 && subject->file && strncmp(message, subject->model, n) == 0 &&
        strncmp(message + n, ": ", 2) == 0)
        message += n + 2;

    fputs(subject->file ? subject->file : "emctl: definition", stderr);
    if (line > 0)
        fprintf(stderr, ":%" PRIu64 ":%" PRIu64, line, number_of(parameters, "column"));
    fprintf(stderr, ": %s%s%s\n", path ? path : "", path ? ": " : "", message);
}

/* A weight file is known by the path in the file that names it, or by the model's name if it came
 * alone. */
static void explain_source_changed(const json_t *parameters, const struct subject *subject)
{
    const char *path = text_of(parameters, "path", NULL);
    bool alone = !path || (subject->model && strcmp(path, subject->model) == 0);

    fputs("emctl: ", stderr);
    if (subject->file)
        fprintf(stderr, "%s%s", subject->file, alone ? "" : ": ");
    if (!alone)
        fprintf(stderr, "weight file %s", path);
    else if (!subject->file)
        fprintf(stderr, "the weight file of %s", subject->model ? subject->model : "the model");
    fputs(" has changed since its header was read. Unload the model and load it again.\n", stderr);
}

static void explain_io_failed(const json_t *parameters, const struct subject *subject)
{
    const char *name = text_of(parameters, "errnoName", "?"), *text = NULL;

    for (int error = 1; error < 256 && !text; error++) {
        const char *candidate = strerrorname_np(error);
        if (candidate && strcmp(candidate, name) == 0)
            text = strerror(error);
    }
    fprintf(stderr, "emctl: %s%sthe daemon failed to %s: %s%s%s%s.\n",
            subject->file ? subject->file : "", subject->file ? ": " : "",
            text_of(parameters, "operation", "?"), text ? text : name, text ? " (" : "",
            text ? name : "", text ? ")" : "");
}

static void explain_invalid_parameter(const json_t *parameters, const struct subject *subject)
{
    const char *name = text_of(parameters, "parameter", "?");

    if (strcmp(name, "policy") == 0 && subject->policy)
        fprintf(stderr, "emctl: the daemon knows no policy %s. flush-all and lru are known.\n",
                subject->policy);
    else
        fprintf(stderr,
                "emctl: the daemon does not take parameter %s. Is it of another version? "
                "'emctl version' tells.\n",
                name);
}

static void explain_unknown(const char *wire_name, const json_t *parameters)
{
    char *name = safe_text(wire_name), *text = json_dumps(parameters, JSON_COMPACT);
    fprintf(stderr, "emctl: the daemon reports %s %s.\n", name ? name : "an error",
            text ? text : "");
    free(name);
    free(text);
}

int explain_error(const char *wire_name, json_t *parameters, const struct subject *subject)
{
    enum error error = error_from_wire_name(wire_name);

    switch (error) {
    case ERROR_OUT_OF_MEMORY:
        explain_out_of_memory(parameters, subject);
        break;
    case ERROR_MUST_UNLOAD:
        explain_must_unload(parameters, subject);
        break;
    case ERROR_BUSY:
        explain_busy(parameters);
        break;
    case ERROR_NOT_FOUND:
        explain_not_found(parameters, subject);
        break;
    case ERROR_ALREADY_LOADED: {
        const char *model = text_of(parameters, "model", "?");
        fprintf(stderr,
                "emctl: model %s is known already. 'emctl load-layer %s LAYER' loads what is "
                "missing, 'emctl unload-model %s' forgets it.\n",
                model, model, model);
        break;
    }
    case ERROR_INVALID_DEFINITION:
        explain_invalid_definition(parameters, subject);
        break;
    case ERROR_SOURCE_CHANGED:
        explain_source_changed(parameters, subject);
        break;
    case ERROR_LIMIT_EXCEEDED:
        fprintf(stderr, "emctl: limit exceeded: the daemon takes at most %" PRIu64 " (%s).\n",
                number_of(parameters, "maximum"), text_of(parameters, "limit", "?"));
        break;
    case ERROR_IO_FAILED:
        explain_io_failed(parameters, subject);
        break;
    case ERROR_INVALID_PARAMETER:
        explain_invalid_parameter(parameters, subject);
        break;
    case ERROR_PERMISSION_DENIED:
        fputs(
            "emctl: permission denied: members of the socket's group may look and plan; root, the "
            "daemon's own user and its admin-group may load, unload and set. Run emctl as root, "
            "or set admin-group= in " CONFIG_FILE ".\n",
            stderr);
        break;
    case ERROR_COUNT:
        explain_unknown(wire_name, parameters);
        return EXIT_OTHER;
    default:
        fprintf(stderr, "emctl: %s. Is the daemon of another version? 'emctl version' tells.\n",
                error_text(error));
    }
    return (int)error_exit_code(error);
}

int explain_plan(json_t *parameters)
{
    uint64_t n_layers = number_of(parameters, "outOfMemory");
    char capacity[SIZE_TEXT_MAX];

    if (n_layers == 0)
        return EXIT_DONE;
    return session_fail(EXIT_OUT_OF_MEMORY,
                        "out of memory: %" PRIu64 " layer%s larger than the arena's %s, so the "
                        "model would be refused. A larger arena (capacity= in " CONFIG_FILE
                        ") or smaller layers would help.",
                        n_layers, n_layers == 1 ? " is" : "s are",
                        size_of(parameters, "capacityBytes", capacity));
}
