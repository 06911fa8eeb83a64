/* Ends the leases from before a restart that no client has taken up again when lease-grace is over,
 * unless a client still has the arena mapped for views: it may read their layers without asking.
 *
 * If the daemon stood still meanwhile, the clients probably did as well, and could not take
 * anything up. So if the timer is late, lease-grace begins again. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/restart/grace.h"

#include <event2/event.h>

struct grace_timer {
    struct grace *grace;           /* borrowed */
    const struct backing *backing; /* borrowed; NULL: simulated */
    uint64_t started_usec;         /* of this process, monotonic */
    uint64_t grace_usec, due_usec; /* `due_usec` is monotonic */
    struct event *event;
};

/* The other members are set. 0 or -ENOMEM. */
int grace_timer_start(struct grace_timer *timer, struct event_base *base, uint64_t grace_usec);
void grace_timer_stop(struct grace_timer *timer); /* safe on a zeroed struct */
