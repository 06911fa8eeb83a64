/* The leases of clients whose connections have ended. They end in portions, with other calls
 * between them, because a client may have thousands.
 *
 * Leases of clients that still have the arena mapped although their connection has ended. A view's
 * engine reads its mapping without asking, so nothing else may be loaded there. Such leases end
 * when the client has unmapped the arena. Loop thread only. */
#pragma once

#include "daemon/methods/lease.h"

#include <event2/event.h>

struct orphans {
    struct event_base *base; /* borrowed */
    struct leases *leases;   /* borrowed; its holders without a connection are the orphans */
    int arena_fd;            /* borrowed; -1: simulated */
    struct event *checking;  /* NULL before the first orphan */
    struct event *ending;    /* NULL before the first client with many leases */
    uint64_t wait_usec;      /* until the next check */
};

void orphans_init(struct orphans *orphans, struct event_base *base, struct leases *leases,
                  int arena_fd);

/* The holder's leases last as long as its client has the arena mapped through `client_fd`, also
 * without the connection. 0 or a negative errno. */
int orphans_lock(struct orphans *orphans, struct holder *holder, int client_fd);

/* A client's connection has ended. Takes the holder. */
void orphans_take(struct orphans *orphans, struct holder *holder);

/* Ends all their leases at once. Safe on a zeroed struct. */
void orphans_done(struct orphans *orphans);
