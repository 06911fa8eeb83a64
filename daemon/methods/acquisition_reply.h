/* The replies to Acquire and Next: where the leased bytes lie in the arena and in the model's
 * weight files, and the tensors in them. */
#pragma once

#include "daemon/methods/long_reply.h"
#include "daemon/scheduler/scheduler.h"
#include "daemon/scheduler/scheduler_together.h"

struct acquisition_reply;

/* Describes layers, which must be resident, as if their bytes were those of one layer, in the order
 * of the set. `run` is NULL for Acquire. NULL when out of memory. */
struct acquisition_reply *acquisition_reply_new(const struct scheduler *scheduler,
                                                const struct layer_set *set, const struct run *run,
                                                bool hit);
struct acquisition_reply *acquisition_reply_free(struct acquisition_reply *reply);
DEFINE_CLEANUP(struct acquisition_reply *, acquisition_reply_free);

/* Sends it, and takes it. `arena_fd_index` is UINT64_MAX if no descriptor goes with it. */
void acquisition_reply_send(struct acquisition_reply *reply, struct workers *workers,
                            struct call *call, uint64_t lease_id, uint64_t arena_fd_index);
