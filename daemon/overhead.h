/* How the daemon divides overhead-limit, what it may use beyond the arena, among the things that
 * grow with what peers do. The rest is for models, leases and the daemon itself. */
#pragma once

#include "daemon/control/pending.h"

#include <stdint.h>

/* For replies that peers have not read, and the calls that they have open: a sixteenth, and at
 * least 1 MiB, which one long reply takes. This is the limit for reading further calls; at most
 * pending_most_bytes() of it are ever held. */
static inline uint64_t overhead_pending_bytes(uint64_t overhead_limit_bytes)
{
    enum { LEAST_BYTES = 1 << 20, PART = 16 };
    uint64_t n_bytes = overhead_limit_bytes / PART;
    return n_bytes > LEAST_BYTES ? n_bytes : LEAST_BYTES;
}

/* What models that are read, and plans, leave free (see daemon/system/memory_gate.h). */
static inline uint64_t overhead_free_bytes(uint64_t overhead_limit_bytes)
{
    return pending_most_bytes(overhead_pending_bytes(overhead_limit_bytes));
}
