/* Units that are layers of their own: "blk.0:u5" is unit 5 of "blk.0", and holds one expert or one
 * chunk of a table. A model has such layers if it was cut, see common/formats/weights.h. */
#pragma once

#include "common/definition/definition.h"

/* Writes the name of a unit's layer. Returns false if it would be longer than a name may be. */
bool definition_unit_name(const char *layer, uint64_t unit,
                          char ret[static DEFINITION_NAME_MAX + 1]);

/* How many units the layer has; 0 if there is no such layer. O(log n). */
uint32_t definition_count_units(const struct definition *definition, const char *layer);
