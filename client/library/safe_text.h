/* Makes text of unknown origin safe to show on a terminal. Any client and any file may have chosen
 * a name, and an escape sequence in it must not reach the screen. Pure. */
#pragma once

#include <jansson.h>

/* A malloc'ed copy of `text` (UTF-8). Control characters, characters that reorder the line, and
 * bytes that are not UTF-8 are replaced by \uXXXX. NULL when out of memory. */
char *safe_text(const char *text);

/* Makes every string value in `value` safe, in place. Keys do not change. 0 or -ENOMEM. */
int safe_json(json_t *value);
