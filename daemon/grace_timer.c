#include "daemon/grace_timer.h"

#include <errno.h>

static void on_time(evutil_socket_t fd, short what, void *context)
{
    static const struct timeval again = {.tv_sec = 1};
    struct grace_timer *timer = context;
    (void)fd;
    (void)what;
    if (!backing_is_locked_before(timer->backing, timer->started_usec) ||
        event_add(timer->event, &again) < 0)
        grace_end(timer->grace);
}

int grace_timer_start(struct grace_timer *timer, struct event_base *base, uint64_t grace_usec)
{
    struct timeval after = {.tv_sec = (time_t)(grace_usec / 1000000),
                            .tv_usec = (suseconds_t)(grace_usec % 1000000)};
    timer->event = event_new(base, -1, 0, on_time, timer);
    return timer->event && event_add(timer->event, &after) == 0 ? 0 : -ENOMEM;
}

void grace_timer_stop(struct grace_timer *timer)
{
    if (timer->event)
        event_free(timer->event);
    timer->event = NULL;
}
