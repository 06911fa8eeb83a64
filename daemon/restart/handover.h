/* What one daemon process leaves to the next: the arena, the ledger and the weight files, all in
 * the service manager's descriptor store. With them a restart is warm: every layer is where it was.
 * Where anything does not check out the start is cold: the stored arena is emptied first, so that
 * there is never memory for two, and the journal says why. A failure of the moment (no memory, no
 * descriptor, an I/O error) ends the start instead, and everything stays in the store. Loop thread
 * only. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/restart/grace.h"
#include "daemon/scheduler/scheduler.h"

struct handover;

/* NULL when out of memory. `store_max` is how many descriptors the store takes; 0: there is none,
 * and nothing is handed over. */
struct handover *handover_new(uint64_t store_max);
struct handover *handover_free(struct handover *handover);

/* Takes a descriptor that was stored under that name. */
void handover_take(struct handover *handover, const char *name, int fd);

/* The arena's memory: that of the process before, or new. As backing_new. */
int handover_backing(struct handover *handover, const struct backing_config *config,
                     struct backing **ret, char ret_why[static BACKING_WHY_MAX]);

/* Gives the new scheduler, whose arena is `arena`, the models and layers of the process before, if
 * its memory was taken over; handover_grace has what was leased. 0; or a negative errno: this start
 * has failed, and the next one is cold. */
int handover_restore(struct handover *handover, struct scheduler *scheduler, struct arena *arena,
                     const struct backing *backing);

/* From now on every step of the scheduler, which is new unless handover_restore has filled it, is
 * written down for the next process. 0 or a negative errno. */
int handover_begin(struct handover *handover, struct scheduler *scheduler,
                   const struct backing *backing);

/* A scheduler_observer; `context` is the handover. */
void handover_on_scheduler(const struct scheduler_event *event, void *context);

/* The layers that were leased before, and still wait for their holders. */
struct grace *handover_grace(struct handover *handover);
