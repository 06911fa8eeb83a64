/* One connection of libedgemind to the daemon: its calls, their failures, and the arena, whose
 * descriptor comes with the first lease. Where a comment says that an error is kept, it is the new
 * last_error.
 *
 * Invariant: after `broken` is set, nothing more is sent. Only one thread at a time may use a
 * channel. */
#pragma once

#include "client/library/arena_map.h"
#include "client/library/last_error.h"
#include "client/library/mapped_layer.h"

struct channel {
    struct varlink *varlink; /* NULL: not connected */
    const char *socket_path; /* borrowed, for messages */
    int broken;              /* the errno that every further call returns; 0: not broken */
    int arena_fd;            /* owned; -1: not received yet, or mapped */
    struct arena_map *map;   /* a reference, or NULL: not mapped yet */
    bool map_confirmed;      /* the map is of this connection's arena */
};

#define CHANNEL_CLOSED ((struct channel){.arena_fd = -1})

/* `likely` is a map to reuse if this connection has the same arena; NULL: none. 0, or a negative
 * errno that is kept; then the channel is closed. */
int channel_open(struct channel *channel, const char *socket_path, uint64_t timeout_usec,
                 struct arena_map *likely, struct last_error *last_error);
void channel_close(struct channel *channel); /* sets it to CHANNEL_CLOSED */

/* Whether the daemon has hung up; then the channel is broken. Never waits. */
bool channel_hung_up(struct channel *channel);

/* Keeps the reason why the channel is broken or not connected, and returns its errno. */
int channel_fail(const struct channel *channel, struct last_error *last_error);

/* Calls `method` of io.edgemind.manager. Takes ownership of `parameters`; NULL means that memory
 * ran out, or that the subject's model or layer is not UTF-8. 0, and the caller owns the reply,
 * which is not an error reply; or a negative errno that is kept. */
int channel_call(struct channel *channel, const char *method, json_t *parameters, const int *fds,
                 size_t n_fds, const struct error_subject *subject, struct last_error *last_error,
                 struct varlink_reply *ret);

/* Calls Release as a oneway call, which gets no reply. 0 if the connection is open and the daemon
 * has received the call or will read it; or a negative errno that is kept. */
int channel_release(struct channel *channel, json_t *lease, struct last_error *last_error);

/* Adds a number to `parameters` (ownership is taken), unless the number is 0. NULL when out of
 * memory, or if `parameters` is NULL. */
json_t *channel_add(json_t *parameters, const char *key, json_int_t number);

/* Keeps the error that the interface does not describe a reply (-EBADMSG), or another one that kept
 * the reply from being read. Returns `error`. */
int channel_bad_reply(int error, struct last_error *last_error);

/* Maps the layer that a reply to Acquire or Next describes. 0, or a negative errno that is kept;
 * then the lease is still held on the daemon's side. -ENODATA means that the arena ends before the
 * layer: its daemon has ended, so the channel is then broken. */
int channel_map(struct channel *channel, struct varlink_reply *reply, bool has_units,
                struct last_error *last_error, struct mapped_layer *ret);

/* Calls Acquire. `units` is an array of their numbers, or NULL. `fill` takes up a lease from before
 * a restart; 0: there is none. 0, or a negative errno that is kept; then nothing is held. */
int channel_acquire(struct channel *channel, const char *model, const char *layer, json_t *units,
                    uint64_t wait_usec, json_int_t fill, struct last_error *last_error,
                    struct mapped_layer *ret);
