/* Parses a large JSON text part by part: an object without the elements of one of its members, and
 * then these elements one by one. So jansson, which needs many times a text's length, has only one
 * part at a time.
 *
 * Positions in problems are in the whole text. Errors are those of json_parse, and each part must
 * keep the limits. The whole text's limits and its NUL bytes are for json_scan. Thread-safe. */
#pragma once

#include "common/json.h"

#include <stdbool.h>

/* The part [begin, end) of a text. */
struct json_part {
    const char *text; /* borrowed */
    size_t begin, end;
};

/* The elements of an array, or the members of an object, that are still to come. */
struct json_elements {
    struct json_part rest;
    bool is_after_comma;
};

/* The whole text without the space around it. */
struct json_part json_whole(const char *text, size_t n_bytes);

int json_parse_part(const struct json_part *part, const struct json_limits *limits, json_t **ret,
                    struct json_problem *ret_problem);

/* Parses an object. If its member `key` is an array or an object, that is empty in `*ret`, and
 * `*ret_elements` has its elements; otherwise there are none. */
int json_parse_outline(const struct json_part *part, const char *key,
                       const struct json_limits *limits, json_t **ret,
                       struct json_elements *ret_elements, struct json_problem *ret_problem);

/* At least as many as json_next_element will give, if none of them is malformed. */
size_t json_count_elements(const struct json_elements *elements);

/* 1 with the next element, which may be malformed; 0 at the end; -EBADMSG if nothing stands between
 * two commas. */
int json_next_element(struct json_elements *elements, struct json_part *ret,
                      struct json_problem *ret_problem);

/* Whether the part looks like an object. */
static inline bool json_part_is_object(const struct json_part *part)
{
    return part->text[part->begin] == '{';
}
