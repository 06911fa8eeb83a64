/* What the handles of libedgemind hold; private to the library. */
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
    struct failure failure;
    bool has_lost; /* a layer is lost, or was when this was last looked at */
    /* While the connection is lost and no call has been answered since: when to stop trying, 0
     * while all is well, and the pause before the next try. */
    uint64_t try_until_usec, pause_usec;
    LIST_HEAD(edgemind_layers, edgemind_layer) layers;
    LIST_HEAD(edgemind_runs, edgemind_run) runs;
};

/* What a call does, over and over until it is done or has failed for good:
 *     do {
 *         r = library_ready(em);
 *         if (r == 0)
 *             r = ...
 *     } while (library_again(em, r));
 * The first takes up what is held if the connection is lost. 0, or a negative errno that is kept.
 */
int library_ready(struct edgemind *em);
bool library_again(struct edgemind *em, int r);

/* 0, or -EINVAL that is kept if a wait is longer than the daemon allows. */
int library_check_wait(struct edgemind *em, uint64_t wait_usec);

/* Looks at the arena. 0, or -ESTALE that is kept if the layer is lost. */
int library_verify(struct edgemind_layer *layer);

/* What has been had for a handle over another connection. */
struct library_taken {
    char *run_id; /* NULL: of a layer */
    struct mapped_layer mapped;
};

/* Begins the run over another connection, where it has come to, with the layer that it has. 0, or a
 * negative errno that is kept. */
int library_run_take(struct edgemind_run *run, struct channel *channel, struct library_taken *ret);

/* Free the handle and what it maps; the daemon learns nothing. */
void library_layer_free(struct edgemind_layer *layer);
void library_run_free(struct edgemind_run *run);
