/* Prints the limits that a service manager should set for a configuration, as a systemd drop-in. */
#pragma once

#include "daemon/config.h"

#include <stdint.h>
#include <stdio.h>

/* Prints MemoryMax= and LimitMEMLOCK=, and says where each figure comes from; and what
 * metrics-listen needs of the network. `page_bytes` is the size of a system page. Returns 0; or
 * -EOVERFLOW: no limit can be that large, and nothing is printed. */
int dropin_print(const struct config *config, uint64_t page_bytes, FILE *out);
