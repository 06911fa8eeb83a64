/* The layers in a ledger's file, and the extents that they lie in. Private to ledger_recover.c.
 * Everything returns 0 or a negative errno, -EBADMSG with the reason. */
#pragma once

#include "daemon/restart/ledger_reading.h"

/* Finds the resident layers of the recovery's model number `model`. */
int ledger_read_layers(struct ledger_reading *reading, uint32_t model);

/* When all are found: fills the recovery's layers and extents. */
int ledger_read_extents(struct ledger_reading *reading);
