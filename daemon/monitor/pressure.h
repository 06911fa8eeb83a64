/* Decides whether memory is short, from what the system says. It has no clock and no I/O.
 *
 * Pressure begins with one reading that is bad enough, and ends when no reading was bad for
 * the quiet time. Once it has begun, a smaller strain counts as bad, so that it does not begin
 * and end again and again. Sources: Documentation/accounting/psi.rst, admin-guide/cgroup-v2.rst. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    PRESSURE_QUIET_USEC = 30 * 1000 * 1000,
    PRESSURE_TEXT_MAX = 160,
};

/* What the system says at one moment. Counters count since some time in the past. */
struct pressure_reading {
    uint64_t at_usec;       /* monotonic */
    double stalled_percent; /* of the last 10 s some task waited for memory; < 0: not measured */
    double own_stalled_percent;            /* the same of the daemon's own cgroup */
    uint64_t available_bytes, total_bytes; /* of the machine */
    uint64_t refaults;    /* pages that were read again soon after they were dropped; UINT64_MAX:
                             not counted */
    uint64_t limit_hits;  /* how often the cgroup reached a limit; UINT64_MAX: not counted */
    uint64_t limit_bytes; /* of the cgroup; UINT64_MAX: none */
    uint64_t limit_free_bytes; /* below this limit, if all clean page cache were dropped */
};

enum pressure_cause {
    PRESSURE_NONE,
    PRESSURE_STALLS,     /* tasks of the machine wait for memory */
    PRESSURE_OWN_STALLS, /* tasks of the daemon's cgroup do */
    PRESSURE_LIMIT,      /* the cgroup is at its limit, and has no page cache left to drop */
    PRESSURE_AVAILABLE,  /* little is available; only where the kernel does not measure stalls */
};

/* Zero-initialise it, but for the quiet time. */
struct pressure {
    uint64_t quiet_usec;       /* PRESSURE_QUIET_USEC, except in tests of the whole daemon */
    enum pressure_cause cause; /* why it began; NONE: there is none */
    uint64_t began_usec, strained_usec; /* when it began; the last bad reading */
    uint64_t n_began;
    struct pressure_reading last; /* at_usec is 0 before the first one */
};

/* Takes the next reading. Returns whether pressure has begun or ended with it. */
bool pressure_note(struct pressure *pressure, const struct pressure_reading *reading);

/* How much can be taken from the machine and the cgroup, so that pressure does not begin again
 * because of it. */
uint64_t pressure_room_bytes(const struct pressure_reading *reading);

/* "stalls", "cgroup-stalls", "cgroup-limit", "available"; NULL for none. */
const char *pressure_cause_name(enum pressure_cause cause);

/* Says with figures what the cause means in the reading. */
const char *pressure_describe(enum pressure_cause cause, const struct pressure_reading *reading,
                              char text[static PRESSURE_TEXT_MAX]);
