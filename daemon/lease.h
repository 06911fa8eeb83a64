/* Leases: which client holds which layer. The scheduler knows only how many hold one; who they are
 * is known here. Loop thread only. */
#pragma once

#include "daemon/peer.h"
#include "daemon/scheduler.h"

#include <sys/queue.h>

enum { LEASES_PER_CONNECTION_MAX = 4096 };

/* A client's hold on a layer. */
struct lease {
    TAILQ_ENTRY(lease) entry;
    struct layer *layer;
    struct holder *holder;
    uint64_t id; /* never used twice */
};
TAILQ_HEAD(lease_list, lease);

/* One connection's leases. */
struct holder {
    LIST_ENTRY(holder) entry;
    struct leases *leases;
    struct peer peer;
    struct lease_list list;
    unsigned n_leases;
    bool has_arena; /* the arena's descriptor was sent */
};

/* All of them; for who looks for the holders of a layer. */
struct leases {
    struct scheduler *scheduler; /* borrowed */
    LIST_HEAD(holder_list, holder) holders;
    uint64_t last_id;
};

void leases_init(struct leases *leases, struct scheduler *scheduler);

/* NULL when out of memory. */
struct holder *holder_new(struct leases *leases, const struct peer *peer);
/* Gives every lease back. */
struct holder *holder_free(struct holder *holder);

/* Holds a resident layer. 0; -EMFILE at LEASES_PER_CONNECTION_MAX; -ENOMEM. */
int lease_take(struct holder *holder, struct layer *layer, const struct lease **ret);

/* 0, or -ENOENT if the holder has no such lease. */
int lease_release(struct holder *holder, uint64_t id);
