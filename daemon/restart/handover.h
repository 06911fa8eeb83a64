/* What one daemon process leaves to the next: the arena, the ledger, the weight files and the
 * history of the daemon's memory, all in
 * the service manager's descriptor store. With them a restart is warm: every layer is where it was.
 * If any check fails, the start is cold: the daemon empties the stored arena before it makes a new
 * one, so that two arenas never hold memory at once, and the journal says why. A passing failure
 * (no memory, no descriptor, an I/O error) ends the start instead, and everything stays in the
 * store. Loop thread only. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/restart/grace.h"
#include "daemon/scheduler/scheduler.h"

struct handover;

/* Returns NULL when out of memory. `store_max` is how many descriptors the store takes; 0: there is
 * no store, and nothing is handed over. */
struct handover *handover_new(uint64_t store_max);
struct handover *handover_free(struct handover *handover);

/* Takes a descriptor that was stored under that name. */
void handover_take(struct handover *handover, const char *name, int fd);

/* Obtains the arena's memory: that of the last process, or new memory. Otherwise like
 * backing_new. */
int handover_backing(struct handover *handover, const struct backing_config *config,
                     struct backing **ret, char ret_why[static BACKING_WHY_MAX]);

/* If the last process's memory was taken over, gives its models and layers to the new scheduler,
 * whose arena is `arena`. handover_grace then has the layers that were leased. Returns 0; or a
 * negative errno: this start has failed, and the next one is cold. */
int handover_restore(struct handover *handover, struct scheduler *scheduler, struct arena *arena,
                     const struct backing *backing);

/* From now on every step of the scheduler is written down for the next process. The scheduler is
 * empty, unless handover_restore has filled it. Returns 0 or a negative errno. */
int handover_begin(struct handover *handover, struct scheduler *scheduler,
                   const struct backing *backing);

/* The file that keeps the history, after handover_begin; borrowed. -1: there is none. */
int handover_history_fd(const struct handover *handover);

/* Writes down the definition of a model that will be registered, so that the loop has little to do
 * then. Any thread; `context` is the handover. handover_forget gives the memory back if the model
 * is not registered after all. */
void handover_prepare(const struct definition *definition, void *context);
void handover_forget(const struct definition *definition, void *context);

/* A scheduler_observer; `context` is the handover. */
void handover_on_scheduler(const struct scheduler_event *event, void *context);

/* The layers that were leased when the last process ended, while their leases still wait. */
struct grace *handover_grace(struct handover *handover);
