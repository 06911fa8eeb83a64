/* The calls of a run over a channel, and the parsing of their replies. */
#pragma once

#include "client/library/channel.h"

/* Calls BeginRun; the run begins with the layer `index`. 0, and the caller owns the id; or a
 * negative errno that is kept. */
int run_calls_begin(struct channel *channel, struct last_error *last_error, const char *model,
                    uint64_t index, char **ret_id, uint64_t *ret_n_layers);

/* Calls Next. `fill` takes up the lease on that load of the layer; 0: there was none. The caller
 * owns the reply. 0, or a negative errno that is kept. */
int run_calls_next(struct channel *channel, struct last_error *last_error, const char *model,
                   const char *id, uint64_t wait_usec, json_int_t fill,
                   struct varlink_reply *reply);

/* Reads the position from a reply to Next; the pass is the daemon's count. 0; -EBADMSG if the
 * position is not within a model of `n_layers`; -ENOMEM. */
int run_calls_parse_place(const json_t *reply, uint64_t n_layers, uint64_t *ret_index,
                          uint64_t *ret_pass, bool *ret_hit);
