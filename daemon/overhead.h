/* How the daemon divides overhead-limit, what it may use beyond the arena, among the things that
 * grow with what peers do. The rest is for models, leases and the daemon itself. */
#pragma once

#include <stdint.h>

/* For replies that peers have not read, and the calls that they have open: a quarter, and at least
 * 4 MiB, which a few long replies take. While the limit holds for reading further calls, at most
 * twice as much is ever allocated (see daemon/control/pending.h). */
static inline uint64_t overhead_pending_bytes(uint64_t overhead_limit_bytes)
{
    enum { LEAST_BYTES = 4 << 20 };
    uint64_t n_bytes = overhead_limit_bytes / 4;
    return n_bytes > LEAST_BYTES ? n_bytes : LEAST_BYTES;
}
