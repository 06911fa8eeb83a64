/* Requests that wait for room in the arena, which leases and loads in flight take up.
 *
 * They are served in the order in which they came, administrators first: no request gets the room
 * for which another request ahead of it waits. If the requested layer has become resident
 * meanwhile, the request is served at once. Loop thread only. */
#pragma once

#include "daemon/scheduler/scheduler_together.h"

#include <event2/event.h>
#include <sys/queue.h>

enum { WAIT_USEC_MAX = 60 * 1000 * 1000 };

enum wait_end {
    WAIT_PLACE,   /* there may be room now */
    WAIT_EXPIRED, /* the deadline has passed */
    WAIT_GONE     /* the layer's model was removed */
};

/* A request that waits. Its owner holds it by value and zero-initialises it. */
struct wait {
    TAILQ_ENTRY(wait) entry;
    struct waits *waits;              /* NULL: it does not wait */
    const struct layer *layer;        /* NULL when its model was removed */
    const struct layer_set *together; /* that need room at the same time; NULL: only `layer` */
    uint64_t deadline_usec;
    bool is_admin;
    void (*over)(enum wait_end end, void *context);
    void *context;
};
TAILQ_HEAD(wait_list, wait);

struct waits;

/* Returns 0 or -ENOMEM. */
int waits_new(struct event_base *base, struct scheduler *scheduler, struct waits **ret);
struct waits *waits_free(struct waits *waits); /* no request may wait */
DEFINE_CLEANUP(struct waits *, waits_free);

/* Waits for room for the layer; or for all layers of a set at the same time, which is not served
 * before its turn even if all are resident. Borrows the set. When the wait is over, the loop calls
 * `over`. The request then waits no more, and may begin to wait again. */
void wait_begin(struct wait *wait, struct waits *waits, const struct layer *layer,
                uint64_t deadline_usec, bool is_admin,
                void (*over)(enum wait_end end, void *context), void *context);
void wait_begin_together(struct wait *wait, struct waits *waits, const struct layer_set *set,
                         uint64_t deadline_usec, bool is_admin,
                         void (*over)(enum wait_end end, void *context), void *context);
/* Ends the wait without a call of `over`. Safe if the request does not wait. */
void wait_end(struct wait *wait);

/* A scheduler_observer; `context` is the struct waits. */
void waits_on_scheduler(const struct scheduler_event *event, void *context);

/* Whether some request waits that would be served before a new one. */
bool waits_ahead_of(const struct waits *waits, bool is_admin);

uint64_t waits_count(const struct waits *waits);
