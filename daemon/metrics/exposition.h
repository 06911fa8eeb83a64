/* The metrics as text, in the exposition format of Prometheus (version 0.0.4). Each is documented
 * by its # HELP line. */
#pragma once

#include "daemon/arena/holes.h"
#include "daemon/control/server.h"
#include "daemon/metrics/metrics.h"
#include "daemon/monitor/monitor.h"
#include "daemon/monitor/pressure.h"

/* A text never has more bytes: the names of models are bounded, and everything else is fixed. */
enum { EXPOSITION_BYTES_MAX = 64 << 10 };

/* What the text tells beside the scheduler and the metrics. Borrowed. */
struct exposition_facts {
    const char *version, *on_full;
    uint64_t started_usec; /* since 1970 */
    uint64_t overhead_limit_bytes, committed_bytes;
    uint64_t n_readers, n_leases, n_waiting;
    const struct sample *sample;
    const struct pressure *pressure;
    struct holes_stats holes;
    struct server_stats server;
    const struct histogram *immediate_calls, *deferred_calls;
};

/* Writes the text and a NUL. Returns its length, or -EMSGSIZE. */
int exposition_format(const struct scheduler *scheduler, const struct metrics *metrics,
                      const struct exposition_facts *facts, char text[static EXPOSITION_BYTES_MAX]);
