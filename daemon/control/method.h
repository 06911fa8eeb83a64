/* The interfaces that the server offers, their methods, and the hooks of a method that answers
 * later. */
#pragma once

#include "daemon/control/peer.h"

#include <stdbool.h>

struct call;

struct method {
    const char *name; /* without the interface: "Stats" */
    enum tier tier;
    void (*handle)(struct call *call, void *context);
    bool takes_fds; /* if false, descriptors are closed and the call gets
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
    void (*drained)(void *context);   /* all queued bytes were sent; may be NULL */
};

/* If the replies that are queued to a peer take more memory than this, the server reads nothing
 * more from it. */
enum { CALL_PENDING_MAX = 1 << 20 };
