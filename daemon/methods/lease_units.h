/* The parameter `units` of Acquire: which units of a layer, by their numbers. */
#pragma once

#include "daemon/methods/lease.h"

#include <jansson.h>

struct call;

/* Finds the layers that hold the units. If it returns false, it has answered the call with an
 * error. */
bool lease_units_find(struct call *call, struct model *model, const char *layer,
                      const json_t *units, struct layer *ret[static LEASE_UNITS_MAX],
                      uint32_t *ret_n);
