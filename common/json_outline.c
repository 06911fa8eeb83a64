/* Splits texts at tokens. jansson decides whether each part is well-formed, and the outline has the
 * brackets around what was left out, so nothing malformed is between the parts. */
#include "common/json_outline.h"

#include "common/cleanup.h"
#include "common/json_scan.h"
#include "common/memory_budget.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t next_token(const struct json_part *part, size_t *offset)
{
    return json_next_token(part->text, part->end, offset);
}

/* By how much the token changes the depth. */
static int step(char c)
{
    return (c == '[' || c == '{') - (c == ']' || c == '}');
}

struct json_part json_whole(const char *text, size_t n_bytes)
{
    static const char space[] = " \t\n\r";
    size_t offset = 0, begin = json_next_token(text, n_bytes, &offset);

    while (n_bytes > begin && memchr(space, text[n_bytes - 1], sizeof space - 1))
        n_bytes--;
    return (struct json_part){text, begin, n_bytes};
}

/* Where a problem is in the text in which it was found. */
static size_t offset_of(const char *text, const struct json_problem *problem)
{
    const char *line = text;
    for (unsigned i = 1; i < problem->line; i++)
        line = (const char *)rawmemchr(line, '\n') + 1;
    return (size_t)(line - text) + problem->column - 1;
}

static void move_problem(struct json_problem *problem, const char *text, size_t offset)
{
    struct json_problem found = *problem;
    json_set_problem(problem, text, offset, "%s", found.message);
}

int json_parse_part(const struct json_part *part, const struct json_limits *limits, json_t **ret,
                    struct json_problem *ret_problem)
{
    const char *text = part->text + part->begin;
    int r = json_parse(text, part->end - part->begin, limits, ret, ret_problem);
    if (r < 0)
        move_problem(ret_problem, part->text, part->begin + offset_of(text, ret_problem));
    return r;
}

static bool is_key(const struct json_part *part, size_t token, size_t end, const char *key)
{
    size_t n = strlen(key);
    return end - token == n + 2 && part->text[token] == '"' &&
           memcmp(part->text + token + 1, key, n) == 0;
}

/* Finds what is between the brackets of the member's value. Returns false if there is none. */
static bool find_nested(const struct json_part *part, const char *key, struct json_part *ret)
{
    enum { NOTHING, KEY, COLON } seen = NOTHING;
    size_t offset = part->begin, token;
    int depth = 0;

    for (;;) {
        token = next_token(part, &offset);
        if (token == part->end)
            return false;
        char c = part->text[token];
        if (depth == 1 && seen == COLON && step(c) > 0)
            break;
        if (depth == 1 && is_key(part, token, offset, key))
            seen = KEY;
        else
            seen = seen == KEY && c == ':' ? COLON : NOTHING;
        depth += step(c);
    }
    *ret = (struct json_part){part->text, offset, part->end};
    for (depth = 1; depth > 0;) {
        token = next_token(part, &offset);
        if (token == part->end)
            return true;
        depth += step(part->text[token]);
    }
    ret->end = token;
    return true;
}

int json_parse_outline(const struct json_part *part, const char *key,
                       const struct json_limits *limits, json_t **ret,
                       struct json_elements *ret_elements, struct json_problem *ret_problem)
{
    struct json_part nested = {part->text, part->end, part->end};

    *ret_elements = (struct json_elements){nested, false};
    if (!find_nested(part, key, &nested))
        return json_parse_part(part, limits, ret, ret_problem);
    size_t n_before = nested.begin - part->begin, n_after = part->end - nested.end;
    size_t n_bytes = n_before + n_after;
    _cleanup_(freep) char *copy = memory_budget_take(n_bytes) ? malloc(n_bytes) : NULL;
    int r = -ENOMEM;
    if (copy) {
        memcpy(copy, part->text + part->begin, n_before);
        memcpy(copy + n_before, part->text + nested.end, n_after);
        r = json_parse(copy, n_bytes, limits, ret, ret_problem);
        memory_budget_give(n_bytes);
    }
    if (r < 0 && copy) {
        size_t offset = offset_of(copy, ret_problem);
        move_problem(ret_problem, part->text,
                     offset < n_before ? part->begin + offset : nested.end + (offset - n_before));
    }
    if (r == 0)
        ret_elements->rest = nested;
    return r;
}

size_t json_count_elements(const struct json_elements *elements)
{
    size_t offset = elements->rest.begin, n = 0;
    bool is_first = true;
    int depth = 0;

    for (size_t token; (token = next_token(&elements->rest, &offset)) != elements->rest.end;) {
        char c = elements->rest.text[token];
        n += is_first || (c == ',' && depth == 0);
        depth += step(c);
        is_first = false;
    }
    return n;
}

int json_next_element(struct json_elements *elements, struct json_part *ret,
                      struct json_problem *ret_problem)
{
    struct json_part *rest = &elements->rest;
    size_t offset = rest->begin, token = next_token(rest, &offset), begin = token, end = token;

    if (token == rest->end && !elements->is_after_comma)
        return 0;
    for (int depth = 0; token != rest->end; token = next_token(rest, &offset)) {
        char c = rest->text[token];
        if (c == ',' && depth == 0)
            break;
        depth += step(c);
        end = offset;
    }
    if (end == begin) {
        json_set_problem(ret_problem, rest->text, begin, "a value is expected");
        return -EBADMSG;
    }
    *ret = (struct json_part){rest->text, begin, end};
    elements->is_after_comma = token != rest->end;
    rest->begin = token == rest->end ? rest->end : offset;
    return 1;
}
