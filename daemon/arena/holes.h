/* Gives memory of the arena that no layer uses back to the system while memory is short, and takes
 * it again: when a layer needs it, and when memory is no longer short.
 *
 * Memory goes and comes in whole units (backing_unit_bytes). A unit without memory is a hole. The
 * pages of holes stay free pages of the arena: allocations get them like any others, and a fill
 * waits until they have memory again. The work is done in slices on a worker, one at a time, and
 * fills of pages of that slice wait for its end. So no page that a fill writes is ever given away,
 * and none is written that has no memory. Loop thread only. */
#pragma once

#include "daemon/arena/arena.h"
#include "daemon/arena/backing.h"

#include <sys/queue.h>

struct holes;
struct workers;

/* Of a fill that waits. Its owner holds it by value and zero-initialises it. */
struct holes_wait {
    TAILQ_ENTRY(holes_wait) entry;
    struct holes *holes;               /* NULL: it does not wait */
    const struct extent *extent, *end; /* of the allocation, from the first that may lack memory */
    /* Called once: 0; -ECANCELED; -ENOMEM if the system has too little memory; or another negative
     * errno. */
    void (*ready)(int error, void *context);
    void *context;
};

struct holes_stats {
    uint64_t bytes;       /* that are given back now, or are just being taken */
    uint64_t given_bytes; /* in all */
    uint64_t taken_bytes; /* again, in all */
};

/* Finds the holes that an adopted backing has. All are borrowed; `workers` is for the slices.
 * Returns 0 or -ENOMEM. */
int holes_new(struct backing *backing, const struct arena *arena, struct workers *workers,
              struct holes **ret);
struct holes *holes_free(struct holes *holes); /* only after the workers have ended */
DEFINE_CLEANUP(struct holes *, holes_free);

/* Calls `idle` whenever a slice has ended and there is nothing more to do now. `error` is that of
 * the last slice: then nothing more is given or taken, until holes_give or holes_take. */
void holes_on_idle(struct holes *holes, void (*idle)(int error, void *context), void *context);

/* Gives back what is free now. Returns whether there is work; then `idle` follows. */
bool holes_give(struct holes *holes);
/* Takes up to `max_bytes` of all holes, and gives back no more. Likewise. */
bool holes_take(struct holes *holes, uint64_t max_bytes);

/* Waits until all pages of an allocation that has no bytes yet have memory, if they lack some.
 * Returns whether it waits; otherwise `ready` is not called. */
bool holes_await(struct holes *holes, struct holes_wait *wait, const struct allocation *allocation);

/* Ends every wait with -ECANCELED, and begins no further slice. */
void holes_stop(struct holes *holes);

struct holes_stats holes_stats(const struct holes *holes);
