/* Which units are leased and mapped: threads wait for some, the plan keeps some, and the others are
 * streamed. Only the server's thread uses this, without the lock of views.h. */
#pragma once

#include "client/view/daemon_link.h"

enum { RESIDENCY_ASKED_MAX = 16, RESIDENCY_RETRY_USEC = 20 * 1000 };

struct residency {
    struct daemon_link link;
    int touch_fd;      /* see touch.h; negative: threads are only seen when they fault */
    uint64_t n_mapped; /* counts mappings */
    /* The units whose leases are on their way, in the order of the calls. */
    struct asked {
        struct view *view;
        uint32_t unit;
    } asked[RESIDENCY_ASKED_MAX];
    unsigned n_asked;
    /* Until then a daemon that does not know a model may come to know it. 0: it is the first
     * daemon, which knew all models. */
    uint64_t retry_until_usec;
    bool must_retry;    /* a thread waits for a unit of such a model */
    bool knows_no_next; /* the daemon may not know Acquire's `next` */
};

/* A thread waits for the unit. Makes it readable. If the connection is lost, the unit stays
 * wanted. */
void residency_resolve(struct residency *residency, struct view *view, uint32_t unit);

/* Looks where threads have come to without a fault, and reads ahead there. Returns whether there is
 * any such place. */
bool residency_look(struct residency *residency);

/* As daemon_link_declare, after the replies that are on their way. */
int residency_declare(struct residency *residency, struct view *view);

/* Handles the next reply of the daemon. It must have come, or the caller waits for it. */
void residency_receive(struct residency *residency);

/* The connection was lost, and with it what was asked for. */
void residency_forget_asked(struct residency *residency);
bool residency_has_asked(const struct residency *residency, const struct view *view);

/* The view has a new plan: releases all units that are not kept, except for the one that was
 * entered last. */
void residency_follow_plan(struct residency *residency, struct view *view);

/* Releases the streamed units except for the last one, because no thread has come to any for a
 * while. */
void residency_rest(struct residency *residency);
/* Whether there is any. */
bool residency_is_streaming(void);

/* Releases a lease, of which the caller has a reference. NULL is allowed. */
void residency_release(struct residency *residency, json_t *lease);
/* Takes the lease from its unit. The caller holds the lock of views.h. */
json_t *residency_take_lease(struct unit *unit);
/* Makes a mapped unit a hole, and releases it. */
void residency_give_back(struct residency *residency, struct view *view, uint32_t unit);
/* Makes the unit a hole, or, if that fails, a mapping of the plain file. The caller holds the
 * lock. */
void residency_make_hole(struct view *view, uint32_t unit);
