/* What a connection of libedgemind and its handles hold, and how it is renewed; private to the
 * library.
 *
 * Invariant: every handle that the caller was given is in one of the connection's lists, and its
 * memory is mapped, until the caller gives it back or frees the connection. */
#pragma once

#include "client/library/channel.h"

#include <sys/queue.h>

struct edgemind_layer {
    LIST_ENTRY(edgemind_layer) entry; /* not of a run's layer */
    struct edgemind *em;
    char *model;
    struct mapped_layer mapped;
    bool is_lost; /* its bytes are not what they were: only edgemind_reconnect helps */
};

struct edgemind_run {
    LIST_ENTRY(edgemind_run) entry;
    struct edgemind *em;
    char *id;
    uint64_t n_layers;
    /* Of the layer that the run has, or else of the one that comes next. */
    uint64_t index, pass;
    uint64_t first_pass;         /* what the daemon's count of passes began at */
    struct edgemind_layer layer; /* with nothing mapped: the run has none */
};

struct edgemind {
    char *socket_path; /* NULL: never connected */
    uint64_t timeout_usec;
    struct channel channel;
    struct last_error last_error;
    bool has_lost; /* a layer is lost, or was when this was last looked at */
    /* While the connection is lost and no call has been answered since: when to stop trying, 0
     * while all is well, and the pause before the next try. */
    uint64_t try_until_usec, pause_usec;
    LIST_HEAD(edgemind_layers, edgemind_layer) layers;
    LIST_HEAD(edgemind_runs, edgemind_run) runs;
};

/* What a call does, over and over until it is done or has failed for good:
 *     do {
 *         r = connection_ready(em);
 *         if (r == 0)
 *             r = ...
 *     } while (connection_again(em, r));
 * The first takes up what is held if the connection is lost. 0, or a negative errno that is kept.
 */
int connection_ready(struct edgemind *em);
bool connection_again(struct edgemind *em, int r);

/* 0, or -ECHILD that is kept if the connection was made before this process was forked. */
int connection_check_process(struct edgemind *em);

/* 0, or -EINVAL that is kept if a wait is longer than the daemon allows. */
int connection_check_wait(struct edgemind *em, uint64_t wait_usec);

/* Looks at the arena. 0, or -ESTALE that is kept if the layer is lost. */
int connection_verify(struct edgemind_layer *layer);

/* Free the handle and what it maps; the daemon learns nothing. */
void connection_free_layer(struct edgemind_layer *layer);
void connection_free_run(struct edgemind_run *run);

/* Whether something that is held is known to be lost; with `look` the arena is looked at, too. 0,
 * or -ESTALE that is kept. */
int connection_find_lost(struct edgemind *em, bool look);

/* Makes a new connection over which the daemon holds everything that it held over the old one: with
 * `same`, the same bytes at the same addresses, else the same tensors. All or nothing. The old
 * connection ends last: if it still has its leases, nothing is evicted meanwhile. 0, or a negative
 * errno that is kept. */
int connection_renew(struct edgemind *em, bool same);
