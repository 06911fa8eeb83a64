/* Makes text of unknown origin safe to show on a terminal. Names come from the daemon's clients and
 * files from anybody's directory: an escape sequence in one must not reach the screen. Pure. */
#pragma once

#include <jansson.h>

/* A malloc'ed copy of `text` (UTF-8) in which control characters, characters that reorder the line,
 * and bytes that are no UTF-8 stand as \uXXXX. NULL when out of memory. */
char *safe_text(const char *text);

/* Replaces every string value in `value` that is not safe, in place; keys stay. 0 or -ENOMEM. */
int safe_json(json_t *value);
