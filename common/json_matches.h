/* Compares a JSON text with a tree, without an allocation.
 *
 * jansson goes on after a failed allocation in places: it makes a tree that lacks some of the
 * text's bytes, and a text that lacks some of the tree's keys. Where its allocations are not
 * counted (json_memory.h), this comparison finds out. */
#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

/* Whether the text says what `json` holds, in its order. jansson has read the text or written it.
 * Recursive: as deep as `json`. Reads numbers as jansson does, in the locale's way. */
bool json_matches(const char *text, size_t n_bytes, const json_t *json);
