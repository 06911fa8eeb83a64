/* Owns the text for each error of io.edgemind.manager, and for those of org.varlink.service that a
 * person may meet. The text for an invalid definition begins with FILE:LINE:COLUMN:, because
 * editors can parse that. */
#include "client/library/error_text.h"

#include "common/error.h"
#include "common/json.h"
#include "common/units.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED_LAYERS = 3 }; /* of a list that may be long */

const char *error_text_string(const json_t *parameters, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(parameters, key));
    return text && *text ? text : otherwise;
}

uint64_t error_text_number(const json_t *parameters, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(parameters, key));
    return number > 0 ? (uint64_t)number : 0;
}

static char *size_of(const json_t *parameters, const char *key, char text[static SIZE_TEXT_MAX])
{
    return size_format(error_text_number(parameters, key), text);
}

/* "layer dense_3", or "the layer" when its name is unknown. */
static void print_layer(FILE *out, const json_t *parameters, const char *layer)
{
    layer = error_text_string(parameters, "layer", layer);
    fprintf(out, layer ? "layer %s" : "the layer", layer);
}

/* "ffn10/dense_0, ffn10/dense_1 and 4 more" */
static void print_layers(FILE *out, const json_t *layers, uint64_t total)
{
    json_t *layer;
    size_t i;

    json_array_foreach (layers, i, layer) {
        if (i == NAMED_LAYERS)
            break;
        fprintf(out, "%s%s/%s", i > 0 ? ", " : "", error_text_string(layer, "model", "?"),
                error_text_string(layer, "layer", "?"));
    }
    if (total > i)
        fprintf(out, " and %" PRIu64 " more", total - i);
}

static void print_out_of_memory(FILE *out, const json_t *parameters, const char *layer)
{
    char needed[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX];

    fputs("out of memory: ", out);
    print_layer(out, parameters, layer);
    fprintf(out, " needs %s, the arena has %s", size_of(parameters, "requestedBytes", needed),
            size_of(parameters, "capacityBytes", capacity));
}

static void print_must_unload(FILE *out, const json_t *parameters, const char *layer)
{
    char needed[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX];
    uint64_t total = error_text_number(parameters, "victimsTotal");

    fputs("must unload: ", out);
    print_layer(out, parameters, layer);
    fprintf(out,
            " needs %s; of the arena's %s, %s is free. %" PRIu64
            " layer%s would have to be evicted: ",
            size_of(parameters, "requestedBytes", needed),
            size_of(parameters, "capacityBytes", capacity),
            size_of(parameters, "availableBytes", available), total, total == 1 ? "" : "s");
    print_layers(out, json_object_get(parameters, "victims"), total);
}

const char *error_text_user(const json_t *lease, char ret_name[static USER_NAME_MAX])
{
    const char *user = error_text_string(lease, "user", NULL);
    const json_t *uid = json_object_get(lease, "uid");
    char buffer[1024];
    struct passwd entry, *found;
    if (!json_is_integer(uid) ||
        getpwuid_r((uid_t)json_integer_value(uid), &entry, buffer, sizeof buffer, &found) != 0 ||
        !found || strlen(found->pw_name) >= USER_NAME_MAX)
        return user;
    return strcpy(ret_name, found->pw_name);
}

/* "ffn10/dense_0 is held by alice (pid 4711), ffn10/dense_1 is being loaded and 4 more" */
static void print_busy(FILE *out, const json_t *parameters)
{
    const json_t *leases = json_object_get(parameters, "leases");
    uint64_t total = error_text_number(parameters, "leasesTotal");
    json_t *lease;
    size_t i;

    fputs("busy: ", out);
    json_array_foreach (leases, i, lease) {
        char name[USER_NAME_MAX];
        const char *user = error_text_user(lease, name);
        uint64_t pid = error_text_number(lease, "pid");
        if (i == NAMED_LAYERS)
            break;
        fprintf(out, "%slayer %s/%s is %s", i > 0 ? ", " : "",
                error_text_string(lease, "model", "?"), error_text_string(lease, "layer", "?"),
                json_is_true(json_object_get(lease, "loading")) ? "being loaded"
                : user                                          ? "held by "
                                                                : "in use");
        if (user)
            fputs(user, out);
        if (user && pid > 0)
            fprintf(out, " (pid %" PRIu64 ")", pid);
    }
    if (i == 0)
        fputs("layers are in use or being loaded", out);
    else if (total > i)
        fprintf(out, " and %" PRIu64 " more", total - i);
}

/* "layer blk.0 of model m has no unit 9: it has 8, counted from 0" */
static void print_no_unit(FILE *out, const json_t *parameters, const char *model)
{
    uint64_t n_units = error_text_number(parameters, "units");

    print_layer(out, parameters, NULL);
    fprintf(out, " of model %s has no unit", model);
    if (n_units > 0)
        fprintf(out, " %s: it has %" PRIu64 ", counted from 0",
                error_text_string(parameters, "name", "?"), n_units);
    else
        fputs("s", out);
}

static void print_not_found(FILE *out, const json_t *parameters, const char *model)
{
    const char *kind = error_text_string(parameters, "kind", "model");
    const char *name = error_text_string(parameters, "name", "");

    if (strcmp(kind, "layer") == 0 && model)
        fprintf(out, "model %s has no layer %s", model, name);
    else if (strcmp(kind, "unit") == 0 && model)
        print_no_unit(out, parameters, model);
    else
        fprintf(out, "there is no %s %s", kind, name);
}

static void print_invalid_definition(FILE *out, const json_t *parameters, const char *file,
                                     const char *model)
{
    const char *path = error_text_string(parameters, "path", NULL);
    const char *message = error_text_string(parameters, "message", "invalid definition");
    uint64_t line = error_text_number(parameters, "line");
    size_t n = model ? strlen(model) : 0;

    /* A single weight file has the model's name for the daemon, but its own name for the user. */
    if (n > 0 && file && strncmp(message, model, n) == 0 && strncmp(message + n, ": ", 2) == 0)
        message += n + 2;

    fputs(file ? file : "definition", out);
    if (line > 0)
        fprintf(out, ":%" PRIu64 ":%" PRIu64, line, error_text_number(parameters, "column"));
    fprintf(out, ": %s%s%s", path ? path : "", path ? ": " : "", message);
}

/* The daemon names a weight file by its path in the definition or index, and a single weight file
 * by the model's name. */
static void print_source_changed(FILE *out, const json_t *parameters, const char *file,
                                 const char *model)
{
    const char *path = error_text_string(parameters, "path", NULL);
    bool alone = !path || (model && strcmp(path, model) == 0);

    if (file)
        fprintf(out, "%s%s", file, alone ? "" : ": ");
    if (!alone)
        fprintf(out, "weight file %s", path);
    else if (!file)
        fprintf(out, "the weight file of %s", model ? model : "the model");
    fputs(" has changed since its header was read", out);
}

/* What helps, because this limit depends on what else the daemon holds. */
static void print_overhead(FILE *out, const json_t *parameters)
{
    char limit[SIZE_TEXT_MAX];
    fprintf(
        out,
        "limit exceeded: beside the arena the daemon would use more memory than its "
        "overhead-limit of %s allows. Raise overhead-limit, unload models with many layers, use "
        "a definition with fewer layers and shorter names, or try again when others have "
        "finished",
        size_format(error_text_number(parameters, "maximum"), limit));
}

static void print_io_failed(FILE *out, const json_t *parameters, const char *file)
{
    const char *name = error_text_string(parameters, "errnoName", "?"), *text = NULL;

    for (int error = 1; error < 256 && !text; error++) {
        const char *candidate = strerrorname_np(error);
        if (candidate && strcmp(candidate, name) == 0)
            text = strerror(error);
    }
    if (strcmp(name, "ETIMEDOUT") == 0)
        text = "its file did not answer for 20 s; is the server of the file system running?";
    fprintf(out, "%s%sthe daemon failed to %s: %s%s%s%s", file ? file : "", file ? ": " : "",
            error_text_string(parameters, "operation", "?"), text ? text : name, text ? " (" : "",
            text ? name : "", text ? ")" : "");
}

static void print(FILE *out, const char *wire_name, const json_t *parameters, const char *file,
                  const char *model, const char *layer)
{
    enum error error = error_from_wire_name(wire_name);

    switch (error) {
    case ERROR_OUT_OF_MEMORY:
        print_out_of_memory(out, parameters, layer);
        break;
    case ERROR_MUST_UNLOAD:
        print_must_unload(out, parameters, layer);
        break;
    case ERROR_BUSY:
        print_busy(out, parameters);
        break;
    case ERROR_NOT_FOUND:
        print_not_found(out, parameters, model);
        break;
    case ERROR_ALREADY_LOADED:
        fprintf(out, "model %s is known already", error_text_string(parameters, "model", "?"));
        break;
    case ERROR_INVALID_DEFINITION:
        print_invalid_definition(out, parameters, file, model);
        break;
    case ERROR_SOURCE_CHANGED:
        print_source_changed(out, parameters, file, model);
        break;
    case ERROR_LIMIT_EXCEEDED:
        if (strcmp(error_text_string(parameters, "limit", ""), "overhead-limit") == 0) {
            print_overhead(out, parameters);
            break;
        }
        fprintf(out, "limit exceeded: the daemon takes at most %" PRIu64 " (%s)",
                error_text_number(parameters, "maximum"),
                error_text_string(parameters, "limit", "?"));
        break;
    case ERROR_IO_FAILED:
        print_io_failed(out, parameters, file);
        break;
    case ERROR_INVALID_PARAMETER:
        fprintf(out, "the daemon does not take parameter %s",
                error_text_string(parameters, "parameter", "?"));
        if (strncmp(error_text_string(parameters, "parameter", ""), "units[", 6) == 0)
            fputs(": it must be a number that was not there before", out);
        break;
    case ERROR_COUNT: {
        char *text = json_format(parameters, JSON_COMPACT);
        fprintf(out, "the daemon reports %s %s", wire_name, text ? text : "");
        free(text);
        break;
    }
    default:
        fputs(error_text(error), out);
    }
}

char *error_text_format(const char *wire_name, const json_t *parameters, const char *file,
                        const char *model, const char *layer)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out)
        return NULL;
    print(out, wire_name, parameters, file, model, layer);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
