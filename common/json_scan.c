/* The scan knows only tokens, not the grammar. For a well-formed text it counts at least as many
 * values as jansson will make, and finds the longest token; jansson detects malformed texts. */
#include "common/json_scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void json_set_problem(struct json_problem *problem, const char *text, size_t offset,
                      const char *format, ...)
{
    size_t line_start = 0;
    va_list arguments;

    problem->line = 1;
    for (const char *p = text; (p = memchr(p, '\n', (size_t)(text + offset - p))); p++) {
        problem->line++;
        line_start = (size_t)(p + 1 - text);
    }
    problem->column = (unsigned)(offset - line_start) + 1;
    va_start(arguments, format);
    vsnprintf(problem->message, sizeof problem->message, format, arguments);
    va_end(arguments);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_punctuation(char c)
{
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':';
}

size_t json_next_token(const char *text, size_t n_bytes, size_t *offset)
{
    size_t i = *offset;

    while (i < n_bytes && is_space(text[i]))
        i++;
    size_t start = i;
    if (i < n_bytes && text[i] == '"') {
        for (i++; i < n_bytes && text[i] != '"'; i++)
            if (text[i] == '\\')
                i++;
        i++;
    } else if (i < n_bytes && is_punctuation(text[i])) {
        i++;
    } else {
        while (i < n_bytes && !is_space(text[i]) && !is_punctuation(text[i]) && text[i] != '"')
            i++;
    }
    *offset = i < n_bytes ? i : n_bytes;
    return start;
}

int json_scan(const char *text, size_t n_bytes, const struct json_limits *limits,
              size_t *ret_token_bytes, struct json_problem *problem)
{
    *ret_token_bytes = 0;
    if (n_bytes > limits->max_bytes) {
        json_set_problem(problem, text, limits->max_bytes, "longer than %zu bytes",
                         limits->max_bytes);
        return -E2BIG;
    }
    const char *nul = memchr(text, '\0', n_bytes);
    if (nul) {
        json_set_problem(problem, text, (size_t)(nul - text), "NUL byte");
        return -EBADMSG;
    }

    size_t depth = 0, n_values = 0;
    for (size_t offset = 0;;) {
        size_t token = json_next_token(text, n_bytes, &offset);
        if (token == n_bytes)
            return 0;
        if (offset - token > *ret_token_bytes)
            *ret_token_bytes = offset - token;
        char c = text[token];
        if (c == ',' || c == ':')
            continue;
        if (c == ']' || c == '}') {
            depth -= depth > 0;
            continue;
        }
        bool is_nested = c == '[' || c == '{';
        if (is_nested && depth == limits->max_depth) {
            json_set_problem(problem, text, token, "nested deeper than %zu levels", depth);
            return -E2BIG;
        }
        if (c == '"' && limits->max_string_bytes > 0 && offset - token > limits->max_string_bytes) {
            json_set_problem(problem, text, token, "string longer than %zu bytes",
                             limits->max_string_bytes);
            return -E2BIG;
        }
        depth += is_nested;
        n_values += is_nested ? 2 : 1;
        if (n_values > limits->max_values) {
            json_set_problem(problem, text, token, "more than %zu values", limits->max_values);
            return -E2BIG;
        }
    }
}

size_t json_tree_bytes(const char *text, size_t n_bytes)
{
    enum { VALUE_BYTES = 128 }; /* counted as json_limits does; and strings have their lengths */
    size_t n_values = 0;

    for (size_t offset = 0, token; (token = json_next_token(text, n_bytes, &offset)) != n_bytes;)
        n_values += text[token] == '{' || text[token] == '[' ? 2 : !is_punctuation(text[token]);
    return n_bytes + n_values * VALUE_BYTES;
}
