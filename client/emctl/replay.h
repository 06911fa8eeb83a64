/* Replays a route trace through a memory of a given size: which experts are there when a token
 * needs them, and how much is read for the others. Pure. */
#pragma once

#include "client/emctl/route_trace.h"

enum replay_policy {
    REPLAY_LRU,
    REPLAY_EXPECTED_USE, /* common/residency/expected_use.h */
    REPLAY_FUTURE, /* evicts what the trace uses furthest in the future; no policy can know it */
    REPLAY_POLICIES
};

struct replay {
    uint64_t n_hits;
    uint64_t read_bytes;
};

const char *replay_policy_name(enum replay_policy policy);

/* The memory is empty at the start. A token needs its experts of one layer together. 0; -ENOMEM; or
 * -ENOSPC: `capacity_bytes` is less than replay_least_bytes. */
int replay_run(const struct route_trace *trace, enum replay_policy policy, uint64_t capacity_bytes,
               struct replay *ret);

/* What the largest pass needs. */
uint64_t replay_least_bytes(const struct route_trace *trace);
