/* First scans, then parses. The scan also finds the start of the token at which jansson failed,
 * because jansson reports only where it stopped reading. */
#include "common/json.h"

#include "common/json_matches.h"
#include "common/json_memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The place to report if jansson stopped at `stop`: that byte if it is inside a string, otherwise
 * the start of the token that was read last. */
static size_t culprit(const char *text, size_t n_bytes, size_t stop)
{
    size_t offset = 0, token;

    do {
        token = json_next_token(text, n_bytes, &offset);
    } while (offset < stop && offset < n_bytes);
    if (token >= stop || (text[token] == '"' && offset != stop))
        return stop;
    return token;
}

static int refuse(const char *text, size_t n_bytes, json_error_t *error,
                  struct json_problem *problem)
{
    static const struct {
        const char *theirs, *ours;
    } texts[] = {
        {"unable to decode byte", "invalid UTF-8"},
        {"premature end of input", "the text ends too early"},
        {"end of file expected", "nothing may follow the outermost value"},
        {"unexpected newline", "newline in a string"},
        {"too big", "integer beyond 64 bits"},
        {"real number overflow", "number too large"},
        {"\\u0000 is not allowed", "NUL character in a string"},
        {"NUL byte in object key", "NUL character in a key"},
        {"duplicate object key", "duplicate key"},
        {"'[' or '{' expected", "an object or an array is expected"},
        {"invalid token", "not a JSON value"},
        {"unexpected token", "a value is expected"},
        {"string or '}' expected", "a key or '}' is expected"},
        {"':' expected", "':' is expected"},
        {"'}' expected", "',' or '}' is expected"},
        {"']' expected", "',' or ']' is expected"},
    };
    size_t stop = error->position < 0 ? 0 : (size_t)error->position;

    /* jansson does not report a failed allocation. */
    if (error->text[0] == '\0' || json_error_code(error) == json_error_out_of_memory) {
        json_set_problem(problem, text, 0, "out of memory");
        return -ENOMEM;
    }
    if (stop > n_bytes)
        stop = n_bytes;
    if (json_error_code(error) == json_error_premature_end_of_input)
        stop = n_bytes;
    else if (strncmp(error->text, "invalid escape", strlen("invalid escape")) == 0)
        stop--; /* only here jansson has already read past the wrong token */
    else if (json_error_code(error) != json_error_invalid_utf8)
        stop = culprit(text, n_bytes, stop);

    /* A string without memory is an invalid token, too. No other string is. */
    if (stop < n_bytes && text[stop] == '"' &&
        (strncmp(error->text, "invalid token", strlen("invalid token")) == 0 ||
         strncmp(error->text, "string or '}' expected", strlen("string or '}' expected")) == 0)) {
        json_set_problem(problem, text, 0, "out of memory");
        return -ENOMEM;
    }
    /* The text after " near " comes from the peer. */
    char *near = strstr(error->text, " near ");
    if (near)
        *near = '\0';
    const char *message = error->text;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strncmp(error->text, texts[i].theirs, strlen(texts[i].theirs)) == 0)
            message = texts[i].ours;
    json_set_problem(problem, text, stop, "%s", message);
    return -EBADMSG;
}

/* Whether no allocation has failed since `failures` was asked for, and the text and the tree, of
 * which one was made from the other, are the same. */
static bool is_whole(uint64_t failures, const char *text, size_t n_bytes, const json_t *json)
{
    return json_memory_is_installed() ? json_memory_failures() == failures
                                      : json_matches(text, n_bytes, json);
}

int json_parse(const char *text, size_t n_bytes, const struct json_limits *limits, json_t **ret,
               struct json_problem *ret_problem)
{
    json_error_t error;
    size_t token_bytes;

    int r = json_scan(text, n_bytes, limits, &token_bytes, ret_problem);
    if (r < 0)
        return r;
    uint64_t failures = json_memory_failures();
    json_t *json = json_memory_load(text, n_bytes, token_bytes, JSON_REJECT_DUPLICATES, &error);
    /* Whatever it says, or made of the text. */
    if (json_memory_failures() != failures || (json && !is_whole(failures, text, n_bytes, json))) {
        json_decref(json);
        json_set_problem(ret_problem, text, 0, "out of memory");
        return -ENOMEM;
    }
    if (!json)
        return refuse(text, n_bytes, &error, ret_problem);
    *ret = json;
    return 0;
}

char *json_format(const json_t *json, size_t flags)
{
    uint64_t failures = json_memory_failures();
    char *text = json_dumps(json, flags);

    if (text && !is_whole(failures, text, strlen(text), json)) {
        free(text);
        return NULL;
    }
    return text;
}

int json_read(const json_t *json, const char *format, ...)
{
    json_error_t error;
    va_list arguments;

    va_start(arguments, format);
    int r = json_vunpack_ex((json_t *)(uintptr_t)json, &error, 0, format, arguments);
    va_end(arguments);
    if (r == 0)
        return 0;
    return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
}
