/* Compares a JSON text with a tree, without an allocation.
 *
 * In some places jansson continues after a failed allocation: then it makes a tree that lacks some
 * of the text's bytes, or a text that lacks some of the tree's keys. If its allocations are not
 * counted (json_memory.h), this comparison detects that. */
#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

/* Whether the text has the same values as `json`, in the same order. jansson must have parsed or
 * written the text. Recursive: as deep as `json`. Reads numbers as jansson does, with the locale.
 */
bool json_matches(const char *text, size_t n_bytes, const json_t *json);
