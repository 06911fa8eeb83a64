#include "daemon/grace_timer.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>

enum {
    FIRST_WAIT_USEC = 1000, /* clients come back within milliseconds, or late */
    LAST_WAIT_USEC = 64 * 1000,
    LATE_WAIT_USEC = 1000 * 1000,
    STOOD_STILL_USEC = 1000 * 1000
};

static int wait(struct grace_timer *timer, uint64_t now_usec, uint64_t usec)
{
    struct timeval after = clock_timeval(usec);
    timer->due_usec = now_usec + usec;
    return event_add(timer->event, &after);
}

/* How long until the next look, if leases may still wait. */
static uint64_t choose_wait(struct grace_timer *timer, uint64_t now_usec)
{
    uint64_t left_usec = timer->end_usec > now_usec ? timer->end_usec - now_usec : LATE_WAIT_USEC;

    if (!grace_has_mapped(timer->grace))
        return left_usec;
    uint64_t usec = timer->wait_usec;
    timer->wait_usec = usec < LAST_WAIT_USEC ? 2 * usec : LAST_WAIT_USEC;
    return usec < left_usec ? usec : left_usec;
}

static void begin(struct grace_timer *timer, uint64_t now_usec)
{
    if (__builtin_add_overflow(now_usec, timer->grace_usec, &timer->end_usec))
        timer->end_usec = UINT64_MAX;
    timer->wait_usec = FIRST_WAIT_USEC;
}

static void on_time(evutil_socket_t fd, short what, void *context)
{
    struct grace_timer *timer = context;
    uint64_t now_usec = clock_monotonic_usec(), usec = 0;
    bool is_left = true;
    (void)fd;
    (void)what;

    if (now_usec > timer->due_usec + STOOD_STILL_USEC) {
        if (timer->grace->n_layers > 0)
            log_notice("lease-grace begins again, because the daemon stood still meanwhile");
        begin(timer, now_usec);
    }
    bool is_locked = backing_is_locked_before(timer->backing, timer->started_usec);
    if (!is_locked && now_usec >= timer->end_usec)
        is_left = grace_end(timer->grace);
    else if (is_locked || !grace_end_mapped(timer->grace))
        usec = choose_wait(timer, now_usec);
    if (is_left && wait(timer, now_usec, usec) < 0)
        while (grace_end(timer->grace)) {
        }
}

int grace_timer_start(struct grace_timer *timer, struct event_base *base, uint64_t grace_usec)
{
    uint64_t now_usec = clock_monotonic_usec();

    timer->grace_usec = grace_usec;
    begin(timer, now_usec);
    timer->event = event_new(base, -1, 0, on_time, timer);
    return timer->event && wait(timer, now_usec, choose_wait(timer, now_usec)) == 0 ? 0 : -ENOMEM;
}

void grace_timer_stop(struct grace_timer *timer)
{
    if (timer->event)
        event_free(timer->event);
    timer->event = NULL;
}
