/* What the policies do with a trace, for output. */
#pragma once

#include "client/emctl/replay.h"
#include "client/emctl/session.h"

/* Replays the trace with every policy through `capacity_bytes`, adds the array "policies" to
 * `reply`, and shows the reply. The option --disk-rate adds how many tokens a second the disk
 * allows. Returns emctl's exit code; EXIT_OUT_OF_MEMORY without a message if the capacity is too
 * small. */
int replay_reply(struct session *session, const struct route_trace *trace, uint64_t capacity_bytes,
                 json_t *reply);
