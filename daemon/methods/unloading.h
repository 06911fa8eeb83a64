/* Unloads a model in portions, a portion in each turn of the loop, and removes it at the end. */
#pragma once

#include "daemon/methods/manager.h"

/* Its owner holds it by value. Zero-initialise it. */
struct unloading {
    struct manager *manager;
    struct model *model; /* held; NULL: not in progress */
    uint32_t at;         /* the next layer */
    struct event *next;  /* the next portion; NULL before the first one has ended */
    struct requester requester;
    void (*ended)(int error, void *context);
    void *context;
};

/* Calls `ended` when the model is removed (0), or when it is busy (-EBUSY; then some of its layers
 * may have been evicted), maybe before this returns. Until then nobody else removes the model. */
void unloading_begin(struct unloading *unloading, struct manager *manager, const struct call *call,
                     struct model *model, void (*ended)(int error, void *context), void *context);

/* Ends it without a call of `ended`. The layers that were evicted stay so. Safe at any time. */
void unloading_cancel(struct unloading *unloading);
