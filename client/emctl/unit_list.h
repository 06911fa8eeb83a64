/* The value of --unit: numbers of units of a layer, as "1,5". */
#pragma once

#include "client/library/edgemind.h"

#include <jansson.h>

/* Returns how many there are; 0 if the text is no such list, names a unit twice, or is too long. */
size_t unit_list_parse(const char *text, uint32_t ret[static EDGEMIND_UNITS_MAX]);

/* A new array of them; NULL if there is no text, or no memory. The text must be a list. */
json_t *unit_list_json(const char *text);
