/* What is served: interfaces, their methods, and what a method that answers later wants to know. */
#pragma once

#include "daemon/control/peer.h"

#include <stdbool.h>

struct call;

struct method {
    const char *name; /* without the interface: "Stats" */
    enum tier tier;
    void (*handle)(struct call *call, void *context);
    bool takes_fds; /* with any other method, descriptors are closed and the call gets
                       InvalidParameter("fileDescriptors") */
};

struct interface {
    const char *name;             /* "io.edgemind.manager" */
    const char *description;      /* the interface file's text */
    const struct method *methods; /* ends with a NULL name */
    void *context;                /* handed to every handler */
};

struct call_hooks {
    void (*cancelled)(void *context); /* the peer is gone */
    void (*drained)(void *context);   /* everything queued was sent; may be NULL */
};

/* Bytes queued to a peer above which nothing more is read from it. */
enum { CALL_PENDING_MAX = 1 << 20 };
