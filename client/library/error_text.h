/* An error reply in words: what the daemon refused, with the figures. What would help is left to
 * the callers. */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* One line without a full stop, malloc'ed; NULL when out of memory. `parameters` are taken as they
 * come: one that is missing makes the text poorer, never wrong. `file`, `model` and `layer` are
 * what the call was about, NULL where that does not apply. Characters are not made safe to show. */
char *error_text_format(const char *wire_name, const json_t *parameters, const char *file,
                        const char *model, const char *layer);

/* A parameter: a text that is not empty, or `otherwise`; a number above 0, or 0. */
const char *error_text_string(const json_t *parameters, const char *key, const char *otherwise);
uint64_t error_text_number(const json_t *parameters, const char *key);

/* The name of the user of a lease or a view, as `ret_name` or borrowed from `lease`: the user's
 * number if there is no name; NULL if there is no user. */
enum { USER_NAME_MAX = 64 };
const char *error_text_user(const json_t *lease, char ret_name[static USER_NAME_MAX]);
