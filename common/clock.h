/* The two clocks that are used, in microseconds. */
#pragma once

#include <stdint.h>
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

/* For people: the time since 1970. */
static inline uint64_t clock_realtime_usec(void)
{
    return clock_usec_(CLOCK_REALTIME);
}
