/* Reads the layers in a ledger's file, and the extents that they lie in. Private to
 * ledger_recover.c. All functions return 0 or a negative errno; with -EBADMSG they also set the
 * reason. */
#pragma once

#include "daemon/restart/ledger_reading.h"

/* Finds the resident layers of the recovery's model number `model`. */
int ledger_read_layers(struct ledger_reading *reading, uint32_t model);

/* Fills the recovery's layers and extents, after ledger_read_layers has found those of all
 * models. */
int ledger_read_extents(struct ledger_reading *reading);
