/* Invariant: the result has no byte below 0x20, no 0x7f and no C1 control character, so a terminal
 * finds no escape sequence in it. */
#include "client/library/safe_text.h"

#include "common/utf8.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Control characters, and characters that make a display reorder or end the line. */
static bool unsafe(uint32_t character)
{
    return utf8_is_control(character) || character == 0x061c || character == 0x200e ||
           character == 0x200f ||                          /* bidi marks */
           (character >= 0x2028 && character <= 0x202e) || /* line ends, bidi overrides */
           (character >= 0x2066 && character <= 0x2069) || /* bidi isolates */
           character == 0xfeff;
}

char *safe_text(const char *text)
{
    enum { ESCAPE_BYTES = 6 };
    size_t n_left = strlen(text), room;

    if (__builtin_mul_overflow(n_left, (size_t)ESCAPE_BYTES, &room) || room == SIZE_MAX)
        return NULL;
    char *safe = malloc(room + 1), *to = safe;
    if (!safe)
        return NULL;
    for (size_t n; n_left > 0; text += n, n_left -= n) {
        uint32_t character;
        n = utf8_character(text, n_left, &character);
        if (n > 0 && !unsafe(character)) {
            memcpy(to, text, n);
            to += n;
            continue;
        }
        if (n == 0) { /* not UTF-8: the byte itself */
            character = (unsigned char)*text;
            n = 1;
        }
        to += sprintf(to, "\\u%04x", character);
    }
    *to = '\0';
    return safe;
}

int safe_json(json_t *value)
{
    const char *key;
    json_t *child;
    size_t i;
    int r = 0;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        json_object_foreach (value, key, child) {
            if (r == 0)
                r = safe_json(child);
        }
        return r;
    case JSON_ARRAY:
        json_array_foreach (value, i, child) {
            if (r == 0)
                r = safe_json(child);
        }
        return r;
    case JSON_STRING: {
        char *safe = safe_text(json_string_value(value));
        if (!safe)
            return -ENOMEM;
        if (strcmp(safe, json_string_value(value)) != 0)
            r = json_string_set(value, safe);
        free(safe);
        return r < 0 ? -ENOMEM : 0;
    }
    default:
        return 0;
    }
}
