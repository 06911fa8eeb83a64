/* One connection to the daemon as libedgemind uses it: calls whose failures are kept, and the arena
 * that comes with the first lease.
 *
 * Invariant: after `broken` is set nothing is sent any more. Belongs to one thread at a time. */
#pragma once

#include "client/library/arena_map.h"
#include "client/library/last_error.h"
#include "client/library/mapped_layer.h"

struct channel {
    struct varlink *varlink; /* NULL: not connected */
    const char *socket_path; /* borrowed, for messages */
    int broken;              /* what every call returns from then on; 0: nothing */
    int arena_fd;            /* owned; -1: it has not come, or is mapped */
    struct arena_map *map;   /* a reference, or NULL: not mapped yet */
    bool map_confirmed;      /* the map is of this connection's arena */
};

#define CHANNEL_CLOSED ((struct channel){.arena_fd = -1})

/* 0, or a negative errno that is kept in `last_error`; the channel is then closed. `likely` is a
 * map that is used on if this connection's arena is the same; NULL: none. */
int channel_open(struct channel *channel, const char *socket_path, uint64_t timeout_usec,
                 struct arena_map *likely, struct last_error *last_error);
void channel_close(struct channel *channel); /* leaves a closed one */

/* Whether the daemon has hung up; the channel is then broken. Waits for nothing. */
bool channel_hung_up(struct channel *channel);

/* Keeps why the channel is broken, or that it is not connected; that errno. */
int channel_fail(const struct channel *channel, struct last_error *last_error);

/* Calls `method` of io.edgemind.manager; `parameters` are taken (NULL: one was no UTF-8). The
 * caller owns the reply, which is no error. 0, or a negative errno that is kept. */
int channel_call(struct channel *channel, const char *method, json_t *parameters, const int *fds,
                 size_t n_fds, const struct error_subject *subject, struct last_error *last_error,
                 struct varlink_reply *ret);

/* Release. No reply is waited for: none comes. 0 when the daemon, which is there, has the call or
 * will read it; or a negative errno that is kept. */
int channel_release(struct channel *channel, json_t *lease, struct last_error *last_error);

/* `parameters` (taken) with a number, unless that is 0; NULL when out of memory, or if they are
 * NULL.
 */
json_t *channel_add(json_t *parameters, const char *key, json_int_t number);

/* Keeps that a reply is not what the interface describes; -EBADMSG. */
int channel_bad_reply(struct last_error *last_error);

/* Makes a lease of a reply to Acquire or Next, and maps what that takes. 0, or a negative errno
 * that is kept: the daemon then still thinks that the lease is held. -ENODATA, if the arena ends
 * before the layer, breaks the channel: the daemon that said so has gone. */
int channel_map(struct channel *channel, struct varlink_reply *reply, struct last_error *last_error,
                struct mapped_layer *ret);

/* Acquire. `fill` takes up a lease from before a restart that had it; 0: there was none. 0, or a
 * negative errno that is kept, and nothing is held. */
int channel_acquire(struct channel *channel, const char *model, const char *layer,
                    uint64_t wait_usec, json_int_t fill, struct last_error *last_error,
                    struct mapped_layer *ret);
