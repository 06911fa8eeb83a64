#include "daemon/grace_timer.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>

enum { LATE_USEC = 1000 * 1000, AGAIN_USEC = 1000 * 1000 };

static int arm(struct grace_timer *timer, uint64_t after_usec)
{
    struct timeval after = {.tv_sec = (time_t)(after_usec / 1000000),
                            .tv_usec = (suseconds_t)(after_usec % 1000000)};
    timer->due_usec = clock_monotonic_usec() + after_usec;
    return event_add(timer->event, &after) < 0 ? -ENOMEM : 0;
}

static void on_time(evutil_socket_t fd, short what, void *context)
{
    struct grace_timer *timer = context;
    bool is_late = clock_monotonic_usec() > timer->due_usec + LATE_USEC;
    (void)fd;
    (void)what;

    if (is_late && timer->grace->n_layers > 0)
        log_notice("lease-grace begins again, because it ended while the daemon stood still");
    if (is_late && arm(timer, timer->grace_usec) == 0)
        return;
    if (!backing_is_locked_before(timer->backing, timer->started_usec) ||
        arm(timer, AGAIN_USEC) < 0)
        grace_end(timer->grace);
}

int grace_timer_start(struct grace_timer *timer, struct event_base *base, uint64_t grace_usec)
{
    timer->grace_usec = grace_usec;
    timer->event = event_new(base, -1, 0, on_time, timer);
    return timer->event ? arm(timer, grace_usec) : -ENOMEM;
}

void grace_timer_stop(struct grace_timer *timer)
{
    if (timer->event)
        event_free(timer->event);
    timer->event = NULL;
}
