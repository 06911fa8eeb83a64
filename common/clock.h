/* The clocks that are used, in microseconds. */
#pragma once

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

static inline uint64_t clock_usec_(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* For intervals. */
static inline uint64_t clock_monotonic_usec(void)
{
    return clock_usec_(CLOCK_MONOTONIC);
}

/* For people: the time since 1970. It may be set while a program runs. */
static inline uint64_t clock_realtime_usec(void)
{
    return clock_usec_(CLOCK_REALTIME);
}

/* For times that people see later: it counts while the machine sleeps, and cannot be set. */
static inline uint64_t clock_boottime_usec(void)
{
    return clock_usec_(CLOCK_BOOTTIME);
}

/* Returns the time since 1970 at which something was that is `age_usec` ago. Its distance from now
 * is right even if the wall clock was set meanwhile. */
static inline uint64_t clock_realtime_before(uint64_t age_usec)
{
    uint64_t now_usec = clock_realtime_usec();
    return age_usec < now_usec ? now_usec - age_usec : 0;
}

/* Likewise, of a time that clock_boottime_usec returned on this boot. */
static inline uint64_t clock_realtime_of(uint64_t boot_usec)
{
    return clock_realtime_before(clock_boottime_usec() - boot_usec);
}

/* As timers and timeouts of sockets take it. */
static inline struct timeval clock_timeval(uint64_t usec)
{
    return (struct timeval){(time_t)(usec / 1000000), (suseconds_t)(usec % 1000000)};
}
