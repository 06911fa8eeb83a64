/* Registers a model again after the one that has replaced it could not be read. A worker makes the
 * model and writes its definition to the ledger, and the other one is unloaded in portions, because
 * the loop would need a tenth of a second for 100,000 layers. */
#pragma once

#include "daemon/methods/unloading.h"

/* Its owner holds it by value. Zero-initialise it. */
struct restoring {
    struct job job;
    struct manager *manager;              /* NULL: not in progress */
    struct call *call;                    /* NULL: its client is gone */
    int error;                            /* why the other model could not be read */
    const char *failed_path;              /* its file that has changed, or NULL */
    struct definition *failed_definition; /* a reference, for `failed_path` */
    struct model *failed;                 /* held while the worker works */
    struct definition *definition;        /* of the model to register; a reference */
    struct model *model;                  /* owned until it is registered */
    struct unloading unloading;
    void (*ended)(void *context);
    void *context;
};

/* Replies why the load of the other model has failed, and calls `ended`, when the model is
 * registered, or cannot be, for instance because a client already uses the other one; the log says
 * why. `why` has the failed layer. */
void restoring_begin(struct restoring *restoring, struct manager *manager, struct call *call,
                     const struct load_end *why, struct definition *definition,
                     void (*ended)(void *context), void *context);

/* The call's client is gone, but the model is registered all the same. Then `ended` is called,
 * maybe before this returns. */
void restoring_without_call(struct restoring *restoring);
