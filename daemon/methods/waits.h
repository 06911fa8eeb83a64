/* Requests that wait for the place that leases and loads in flight take up.
 *
 * First come, first served, administrators before others: what the first one waits for is not given
 * to another one that waits. A request for a layer that has come in meanwhile is served at once.
 * Loop thread only. */
#pragma once

#include "daemon/scheduler/scheduler.h"

#include <event2/event.h>
#include <sys/queue.h>

enum { WAIT_USEC_MAX = 60 * 1000 * 1000 };

enum wait_end {
    WAIT_PLACE,   /* there may be a place now */
    WAIT_EXPIRED, /* the deadline has come */
    WAIT_GONE     /* the layer's model was removed */
};

/* One that waits. Zero-initialised, and held by value by its owner. */
struct wait {
    TAILQ_ENTRY(wait) entry;
    struct waits *waits;       /* NULL: it does not wait */
    const struct layer *layer; /* NULL when its model was removed */
    uint64_t deadline_usec;
    bool is_admin;
    void (*over)(enum wait_end end, void *context);
    void *context;
};
TAILQ_HEAD(wait_list, wait);

struct waits;

/* 0 or -ENOMEM. */
int waits_new(struct event_base *base, struct scheduler *scheduler, struct waits **ret);
struct waits *waits_free(struct waits *waits); /* nothing may wait */
DEFINE_CLEANUP(struct waits *, waits_free);

/* There is no place for `layer`. `over` is told, from the loop, when that has ended; it does not
 * wait any more then, and may begin to again. */
void wait_begin(struct wait *wait, struct waits *waits, const struct layer *layer,
                uint64_t deadline_usec, bool is_admin,
                void (*over)(enum wait_end end, void *context), void *context);
/* Safe on one that does not wait. */
void wait_end(struct wait *wait);

/* A scheduler_observer; `context` is the struct waits. */
void waits_on_scheduler(const struct scheduler_event *event, void *context);

/* Whether somebody waits who would be served before a new one. */
bool waits_ahead_of(const struct waits *waits, bool is_admin);

uint64_t waits_count(const struct waits *waits);
