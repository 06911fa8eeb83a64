/* Ends leases from before a restart that no client has taken up again: those of clients with locks
 * as soon as none of these clients has the arena mapped any more, because then each of them has
 * come back or has ended; the others when lease-grace is over, unless a client still has the arena
 * mapped: it may read their layers without asking.
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
    uint64_t grace_usec, end_usec; /* of lease-grace; its end */
    uint64_t wait_usec, due_usec;  /* until the next look; when it is due */
    struct event *event;
};

/* The first three members are set. 0 or -ENOMEM. */
int grace_timer_start(struct grace_timer *timer, struct event_base *base, uint64_t grace_usec);
void grace_timer_stop(struct grace_timer *timer); /* safe on a zeroed struct */
