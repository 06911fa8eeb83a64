/* The state of a connection of libedgemind and its handles, and how the connection is renewed.
 * Private to the library.
 *
 * Invariant: every handle that a caller owns is in one of the connection's lists, and its memory
 * stays mapped until the caller releases it or frees the connection. */
#pragma once

#include "client/library/channel.h"

#include <sys/queue.h>

struct edgemind_layer {
    LIST_ENTRY(edgemind_layer) entry; /* unused for a run's layer */
    struct edgemind *em;
    char *model;
    json_t *units; /* their numbers; NULL: the whole layer is held */
    struct mapped_layer mapped;
    bool is_lost; /* its bytes may have changed: only edgemind_reconnect helps */
};

struct edgemind_run {
    LIST_ENTRY(edgemind_run) entry;
    struct edgemind *em;
    char *id;
    uint64_t n_layers;
    /* Of the layer that the run holds, or, if it holds none, of the next layer. */
    uint64_t index, pass;
    uint64_t first_pass;         /* added to the daemon's count of passes */
    struct edgemind_layer layer; /* nothing is mapped: the run holds no layer */
};

struct edgemind {
    char *socket_path; /* NULL: never connected */
    uint64_t timeout_usec;
    struct channel channel;
    struct last_error last_error;
    bool has_lost; /* at the last check, a layer was lost */
    /* While the connection is lost and no call has been answered since: when to stop trying, and
     * the pause before the next try. Otherwise try_until_usec is 0. */
    uint64_t try_until_usec, pause_usec;
    LIST_HEAD(edgemind_layers, edgemind_layer) layers;
    LIST_HEAD(edgemind_runs, edgemind_run) runs;
};

/* Each call uses this loop until it has succeeded or finally failed:
 *     do {
 *         r = connection_ready(em);
 *         if (r == 0)
 *             r = ...
 *     } while (connection_again(em, r));
 * If the connection is lost, connection_ready makes a new one and takes up all leases and runs. 0,
 * or a negative errno that is kept. */
int connection_ready(struct edgemind *em);
bool connection_again(struct edgemind *em, int r);

/* 0, or, if the connection was made before this process was forked, -ECHILD that is kept. */
int connection_check_process(struct edgemind *em);

/* 0, or, if the wait is longer than the daemon allows, -EINVAL that is kept. */
int connection_check_wait(struct edgemind *em, uint64_t wait_usec);

/* Checks the layer's range of the arena. 0, or, if the layer is lost, -ESTALE that is kept. */
int connection_verify(struct edgemind_layer *layer);

/* Free the handle and its mapping. They send nothing to the daemon. */
void connection_free_layer(struct edgemind_layer *layer);
void connection_free_run(struct edgemind_run *run);

/* Checks whether a held layer is known to be lost. With `look`, also checks the arena. 0, or
 * -ESTALE that is kept. */
int connection_find_lost(struct edgemind *em, bool look);

/* Makes a new connection and acquires on it all that the old connection holds. With `same`, layers
 * must have the same bytes at the same addresses; otherwise they must have the same tensors. Does
 * all of this or nothing. The old connection ends last, so that its leases, if it still has them,
 * prevent eviction meanwhile. 0, or a negative errno that is kept. */
int connection_renew(struct edgemind *em, bool same);
