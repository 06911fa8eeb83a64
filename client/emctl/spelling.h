/* How far a word is from another one, to guess what was meant. */
#pragma once

#include <stddef.h>

/* Levenshtein's distance: how many letters must be added, left out or changed to turn one word into
 * the other. SIZE_MAX for very long words. */
size_t spelling_distance(const char *a, const char *b);
