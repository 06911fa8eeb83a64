/* Notices what happened to the clocks between two looks. The loop looks once a second. */
#pragma once

#include <stdint.h>

/* Microseconds of the three clocks (common/clock.h). */
struct clock_times {
    uint64_t mono_usec, boot_usec, real_usec;
};

/* The last look; zeroed: none yet. */
struct clock_watch {
    struct clock_times last;
};

/* Each is 0 if less than CLOCK_WATCH_LEAST_USEC. */
struct clock_change {
    int64_t set_usec;    /* by how much the wall clock was set forward */
    uint64_t slept_usec; /* for how long the machine slept */
    /* For how long the loop stood still while the machine was awake: it was stopped, or had no
     * processor. It includes the time of a turn that is too long. */
    uint64_t stood_usec;
};

enum { CLOCK_WATCH_EVERY_USEC = 1000 * 1000, CLOCK_WATCH_LEAST_USEC = 5 * 1000 * 1000 };

struct clock_times clock_times_now(void);
struct clock_change clock_watch_look(struct clock_watch *watch, const struct clock_times *now);
