/* The monitor's timer: at each interval it samples the daemon's memory and the machine's, decides
 * whether memory is short, reports what has changed, and has the arena trimmed. Loop thread only.
 */
#pragma once

#include "daemon/methods/deleted_files.h"
#include "daemon/trimming.h"

struct event_base;
struct sampling;

/* All borrowed. `sampled` runs after each sample. The parts of the trimming lack its pressure. */
struct sampling_parts {
    struct monitor *monitor;
    void (*sampled)(void *context);
    void *context;
    struct trimming_parts trimming;
};

/* Says in the log if the kernel does not measure stalls. The timer does not run yet. Returns 0 or a
 * negative errno. */
int sampling_new(struct event_base *base, const struct sampling_parts *parts,
                 struct sampling **ret);
/* Before the workers end: nothing more is begun. */
void sampling_stop(struct sampling *sampling);
struct sampling *sampling_free(struct sampling *sampling); /* after the workers have ended */

/* The first sample. Unlike a later one, it must succeed. Returns 0 or a negative errno. */
int sampling_first(struct sampling *sampling);

/* Starts the timer, or gives it another interval. Returns 0 or -ENOMEM. */
int sampling_set_interval(struct sampling *sampling, uint64_t interval_usec);

struct trimming *sampling_trimming(const struct sampling *sampling);       /* borrowed */
const struct pressure *sampling_pressure(const struct sampling *sampling); /* borrowed */
