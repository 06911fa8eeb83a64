/* UTF-8 text of unknown origin. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the first character of `text`. Returns its length, at most `n_bytes`; 0 if it is
 * malformed. */
size_t utf8_character(const char *text, size_t n_bytes, uint32_t *ret);

/* Whether all of a NUL-terminated text is well-formed. */
bool utf8_is_valid(const char *text);

/* Whether it is a control character: C0, DEL or C1. */
bool utf8_is_control(uint32_t character);

/* The length of the longest prefix of well-formed `text` that has at most `max_bytes` and ends
 * between characters, as a precision for "%.*s". */
int utf8_prefix(const char *text, int max_bytes);
