/* on-pressure = trim: while memory is short, layers that nobody uses are evicted, and the arena's
 * free pages are given back to the system. When memory is no longer short, they are taken again.
 * Loop thread only. */
#pragma once

#include "daemon/methods/events.h"
#include "daemon/weights/loader.h"

struct event_base;
struct trimming;

/* Parts of the pressure's quiet time, so 10 s: a layer that was used since is in use; and after
 * memory could not be taken, it is tried again. */
enum { TRIMMING_IDLE_PART = 3, TRIMMING_RETRY_PART = 3 };

/* All borrowed. `backing` is NULL in a simulation: then nothing is ever trimmed. */
struct trimming_parts {
    struct scheduler *scheduler;
    struct backing *backing;
    struct loader *loader;
    struct workers *workers; /* for the slices */
    struct events *events;
    const struct pressure *pressure;
};

/* Returns 0 or -ENOMEM. It is off. */
int trimming_new(struct event_base *base, const struct trimming_parts *parts,
                 struct trimming **ret);
/* Before the workers end: nothing more is begun, and fills that wait for pages end. */
void trimming_stop(struct trimming *trimming);
struct trimming *trimming_free(struct trimming *trimming); /* after the workers have ended */

/* If it is switched off, all that was given back is taken again at once. */
void trimming_switch(struct trimming *trimming, bool is_on);

/* Call it after each sample. */
void trimming_on_sample(struct trimming *trimming);

const struct holes *trimming_holes(const struct trimming *trimming); /* borrowed, or NULL */
