#include "daemon/system/clock_watch.h"

#include "common/clock.h"

#include <stdlib.h>

struct clock_times clock_times_now(void)
{
    return (struct clock_times){clock_monotonic_usec(), clock_boottime_usec(),
                                clock_realtime_usec()};
}

static int64_t unless_small(int64_t usec)
{
    return llabs(usec) < CLOCK_WATCH_LEAST_USEC ? 0 : usec;
}

struct clock_change clock_watch_look(struct clock_watch *watch, const struct clock_times *now)
{
    struct clock_times last = watch->last;
    struct clock_change change = {0};

    watch->last = *now;
    if (last.mono_usec == 0)
        return change;
    int64_t awake_usec = (int64_t)(now->mono_usec - last.mono_usec);
    int64_t passed_usec = (int64_t)(now->boot_usec - last.boot_usec);
    int64_t stood_usec = unless_small(awake_usec - CLOCK_WATCH_EVERY_USEC);
    int64_t slept_usec = unless_small(passed_usec - awake_usec);
    change.set_usec = unless_small((int64_t)(now->real_usec - last.real_usec) - passed_usec);
    change.stood_usec = stood_usec > 0 ? (uint64_t)stood_usec : 0;
    change.slept_usec = slept_usec > 0 ? (uint64_t)slept_usec : 0;
    return change;
}
