/* Owns the advice that follows the text of a daemon's error. error_text.c has the texts, and
 * local_error_message.c the messages for failures on this side of the socket. Invariant: each
 * message is one paragraph that ends with a full stop. The exception is an invalid definition,
 * because editors parse that message. */
#include "client/emctl/error_message.h"

#include "client/library/error_text.h"
#include "client/library/safe_text.h"
#include "common/error.h"
#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#define CONFIG_FILE "/etc/edgemind/edgemindd.conf"

void error_message_vprint(const char *format, va_list arguments)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(freep) char *safe = NULL;

    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    safe = text ? safe_text(text) : NULL;
    fputs(safe ? safe : strerror(ENOMEM), stderr);
}

int error_message_print(int status, const char *format, ...)
{
    va_list arguments;

    fputs("emctl: ", stderr);
    va_start(arguments, format);
    error_message_vprint(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return status;
}

static bool all_are_own(const json_t *leases)
{
    json_t *lease;
    size_t i;

    json_array_foreach (leases, i, lease)
        if (error_text_number(lease, "pid") != (uint64_t)getpid())
            return false;
    return json_array_size(leases) > 0;
}

static void advise_on_not_found(const json_t *parameters, const struct subject *subject)
{
    const char *kind = error_text_string(parameters, "kind", "model");

    if (strcmp(kind, "unit") == 0 && error_text_number(parameters, "units") == 0)
        fputs(
            " Units are there if the model has experts or a large table, and was loaded for views, "
            "as by 'emctl exec --model'.",
            stderr);
    else if (strcmp(kind, "unit") == 0)
        fprintf(stderr, " 'emctl list %s' shows which of them are in the arena.", subject->model);
    else if (strcmp(kind, "layer") == 0 && subject->model)
        fprintf(stderr, " 'emctl list %s' shows its layers.", subject->model);
    else
        fputs(" 'emctl list' shows the models.", stderr);
    if (strcmp(kind, "model") == 0 && subject->is_folder)
        fprintf(stderr, " If the folder of that name is meant, write ./%s.", subject->file);
    else if (strcmp(kind, "model") == 0 && subject->file)
        fprintf(stderr, " There is no such file either; emctl looked for it at: %s.",
                subject->file);
}

static void advise(enum error error, const json_t *parameters, const struct subject *subject)
{
    switch (error) {
    case ERROR_OUT_OF_MEMORY:
        fputs(" Raise capacity= in " CONFIG_FILE ", or split the layer.", stderr);
        break;
    case ERROR_MUST_UNLOAD:
        fputs(" Evict them with --on-full=evict, or unload layers that you do not need.", stderr);
        break;
    case ERROR_BUSY:
        fputs(all_are_own(json_object_get(parameters, "leases"))
                  ? " This command holds them itself: there is no room for all its layers."
                  : " Try again when they are free.",
              stderr);
        break;
    case ERROR_NOT_FOUND:
        advise_on_not_found(parameters, subject);
        break;
    case ERROR_ALREADY_LOADED: {
        const char *model = error_text_string(parameters, "model", "?");
        fprintf(stderr,
                " 'emctl load-layer %s LAYER' loads a missing layer, and --replace loads the whole "
                "model again.%s",
                model,
                subject->has_default_name ? " If yours is another model, rename it with --name."
                                          : "");
        break;
    }
    case ERROR_SOURCE_CHANGED:
        fputs(" Unload the model and load it again.", stderr);
        break;
    case ERROR_INVALID_PARAMETER:
        if (strcmp(error_text_string(parameters, "parameter", ""), "policy") == 0 &&
            subject->policy)
            fprintf(stderr, " It does not know the policy %s.", subject->policy);
        fputs(" Does it have another version? 'emctl version' shows both versions.", stderr);
        break;
    case ERROR_PERMISSION_DENIED:
        fputs(" Members of the socket's group may look, plan and lease. Only root, the daemon's "
              "own user and its admin-group may load, unload and change settings. Run emctl as "
              "root, or set admin-group= in " CONFIG_FILE ".",
              stderr);
        break;
    case ERROR_INVALID_DEFINITION:
    case ERROR_LIMIT_EXCEEDED:
    case ERROR_IO_FAILED:
    case ERROR_COUNT:
        break;
    default:
        fputs(" Does the daemon have another version? 'emctl version' shows both versions.",
              stderr);
    }
}

int error_message_for_reply(const char *wire_name, json_t *parameters,
                            const struct subject *subject)
{
    enum error error = error_from_wire_name(wire_name);
    _cleanup_(freep) char *said =
        error_text_format(wire_name, parameters, subject->file, subject->model, subject->layer);
    _cleanup_(freep) char *text = said ? safe_text(said) : NULL;

    if (!text)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    if (error == ERROR_INVALID_DEFINITION)
        fputs(text, stderr);
    else
        fprintf(stderr, "emctl: %s.", text);
    advise(error, parameters, subject);
    fputc('\n', stderr);
    return error == ERROR_COUNT ? EXIT_OTHER : (int)error_exit_code(error);
}

int error_message_for_plan(json_t *parameters)
{
    uint64_t n_layers = error_text_number(parameters, "outOfMemory");
    char capacity[SIZE_TEXT_MAX];

    if (n_layers == 0)
        return EXIT_DONE;
    return error_message_print(
        EXIT_OUT_OF_MEMORY,
        "out of memory: %" PRIu64 " layer%s larger than the arena's %s, so the "
        "model would be refused. A larger arena (capacity= in " CONFIG_FILE
        ") or smaller layers would help.",
        n_layers, n_layers == 1 ? " is" : "s are",
        size_format(error_text_number(parameters, "capacityBytes"), capacity));
}
