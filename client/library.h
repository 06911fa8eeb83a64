/* What the handles of libedgemind hold; private to the library. */
#pragma once

#include "client/channel.h"

#include <sys/queue.h>

struct edgemind_layer {
    LIST_ENTRY(edgemind_layer) entry; /* not of a run's layer */
    struct edgemind *em;
    char *model;
    struct mapped_layer mapped;
};

struct edgemind_run {
    LIST_ENTRY(edgemind_run) entry;
    struct edgemind *em;
    char *id;
    uint64_t n_layers;
    int error;                   /* what every step returns from now on; 0: nothing */
    struct edgemind_layer layer; /* with nothing mapped: the run has none */
};

struct edgemind {
    char *socket_path; /* NULL: never connected */
    uint64_t timeout_usec;
    struct channel channel;
    struct failure failure;
    LIST_HEAD(edgemind_layers, edgemind_layer) layers;
    LIST_HEAD(edgemind_runs, edgemind_run) runs;
};

/* 0, or -EINVAL that is kept if a wait is longer than the daemon allows. */
int library_check_wait(struct edgemind *em, uint64_t wait_usec);

/* Free the handle and what it maps; the daemon learns nothing. */
void library_layer_free(struct edgemind_layer *layer);
void library_run_free(struct edgemind_run *run);
/* The run is over for the daemon: what it mapped ends, and each further step fails. */
void library_run_lost(struct edgemind_run *run);
