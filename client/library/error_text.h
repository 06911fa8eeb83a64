/* Texts for error replies: what the daemon refused, with the figures. The callers add advice. */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* One line without a full stop, malloc'ed; NULL when out of memory. `parameters` need not be
 * complete: a missing one makes the text shorter, never wrong. `file`, `model` and `layer` are what
 * the call was about; NULL where that does not apply. The text may contain control characters. */
char *error_text_format(const char *wire_name, const json_t *parameters, const char *file,
                        const char *model, const char *layer);

/* A parameter. The text, or `otherwise` if it is missing or empty. The number, or 0 if it is
 * missing or negative. */
const char *error_text_string(const json_t *parameters, const char *key, const char *otherwise);
uint64_t error_text_number(const json_t *parameters, const char *key);

/* The name of the user of a lease or a view, as `ret_name` or borrowed from `lease`: the user's
 * number if there is no name; NULL if there is no user. */
enum { USER_NAME_MAX = 64 };
const char *error_text_user(const json_t *lease, char ret_name[static USER_NAME_MAX]);
