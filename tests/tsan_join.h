/* Included before each source of the build with ThreadSanitizer, which knows pthread_timedjoin_np
 * but not pthread_clockjoin_np: without it, all that a joined thread has done would count as a
 * race. */
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline int tsan_clockjoin(pthread_t thread, void **ret, clockid_t clock,
                                 const struct timespec *deadline)
{
    struct timespec now, real;

    clock_gettime(clock, &now);
    clock_gettime(CLOCK_REALTIME, &real);
    int64_t nsec = (deadline->tv_sec - now.tv_sec + real.tv_sec) * INT64_C(1000000000) +
                   deadline->tv_nsec - now.tv_nsec + real.tv_nsec;
    struct timespec until = {nsec / 1000000000, nsec % 1000000000};
    return pthread_timedjoin_np(thread, ret, &until);
}

#define pthread_clockjoin_np tsan_clockjoin
