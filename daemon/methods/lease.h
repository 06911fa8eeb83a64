/* Leases and runs: which client leases which layer, and runs through which model. The scheduler
 * knows only how many leases a layer has; this file knows the clients that hold them. Loop thread
 * only. */
#pragma once

#include "daemon/control/peer.h"
#include "daemon/methods/client_view.h"
#include "daemon/scheduler/scheduler_together.h"

#include <sys/queue.h>

enum {
    LEASES_PER_CONNECTION_MAX = 4096,
    LEASES_PER_USER_MAX = 65536,
    RUNS_PER_CONNECTION_MAX = 64,
    RUNS_PER_USER_MAX = 256,
    RUNS_OF_MEMBERS_MAX = SCHEDULER_RUNS_MAX - 64 /* 64 are kept for administrators */
};

/* A client's hold on a layer. For units of a layer a client gets several, with one id. A view has
 * one for each unit, so it is small. */
struct lease {
    TAILQ_ENTRY(lease) entry;
    struct layer *layer;
    struct client_view *view; /* that it is held for; or NULL */
    uint64_t id : 61;         /* never used again */
    bool is_of_run : 1;       /* only its run can release it */
    bool is_mapped : 1;       /* the holder has a lock; see scheduler_pin_lease */
    bool is_streamed : 1;     /* of its view; see view_plan_leased */
};
TAILQ_HEAD(lease_list, lease);

/* A client's run, and its lease on the layer that it is using. */
struct client_run {
    LIST_ENTRY(client_run) entry;
    struct holder *holder;
    struct run *run;
    struct lease *lease; /* or NULL */
    uint64_t id;         /* never used twice */
};
LIST_HEAD(client_run_list, client_run);

/* One connection's leases and runs. */
struct holder {
    LIST_ENTRY(holder) entry;
    struct leases *leases;
    struct peer peer;
    struct lease_list list;
    struct client_run_list runs;
    struct client_views views;
    unsigned n_leases, n_runs;
    bool has_arena;                 /* the arena's descriptor was sent */
    uint64_t lock_id;               /* of client_locks.h; 0: none */
    bool is_orphan, is_ending;      /* see orphans.h */
    struct client_process *process; /* of the connection; belongs to acquisition.c */
    struct manager *manager;        /* borrowed; for acquisition.c */
};

/* All holders. error_replies.c looks here for the clients that hold a layer. */
struct leases {
    struct scheduler *scheduler; /* borrowed */
    LIST_HEAD(holder_list, holder) holders;
    uint64_t last_id, last_lock_id;
    struct view_totals views;
};

void leases_init(struct leases *leases, struct scheduler *scheduler);

/* NULL when out of memory. */
struct holder *holder_new(struct leases *leases, const struct peer *peer);
/* Releases every lease, and ends every run and view. */
struct holder *holder_free(struct holder *holder);

/* Ends every run and view, but releases no lease. */
void holder_end_connection(struct holder *holder);

enum { LEASES_PORTION = 512, LEASE_UNITS_MAX = LEASES_PORTION };

/* Releases up to LEASES_PORTION leases of a holder whose connection has ended. Returns whether more
 * are left. */
bool holder_release_portion(struct holder *holder);

/* Leases a resident layer; `view` is what the client wants it for, or NULL. Returns 0; -EMFILE at
 * LEASES_PER_CONNECTION_MAX; -EDQUOT at LEASES_PER_USER_MAX; -ENOMEM. */
int lease_take(struct holder *holder, struct layer *layer, struct client_view *view,
               const struct lease **ret);

/* Leases the layers of a set, which must be resident, all or none. One lease_release ends all
 * these leases; each counts by itself. Returns the same as lease_take. */
int lease_take_units(struct holder *holder, const struct layer_set *set, const struct lease **ret);

/* Returns 0, or -ENOENT if the holder has no such lease, or if the lease belongs to a run. */
int lease_release(struct holder *holder, uint64_t id);

/* `model` is the view's. Returns as client_view_begin. */
int holder_begin_view(struct holder *holder, struct model *model, const struct client_view *view);
/* The leases that the client holds for the view stay its own. */
void holder_end_view(struct holder *holder, struct client_view *view);

/* The pages of the layers that it has leased, and of those that it wants to lease (NULL: none).
 * Each layer counts once. */
uint64_t holder_pages(const struct holder *holder, const struct layer_set *wanted);

/* Returns 0; -EMFILE at RUNS_PER_CONNECTION_MAX; -EDQUOT at RUNS_PER_USER_MAX; -EUSERS if the
 * members together have RUNS_OF_MEMBERS_MAX, or all users together SCHEDULER_RUNS_MAX; -ENOMEM. */
int client_run_begin(struct holder *holder, struct model *model, struct client_run **ret);
struct client_run *client_run_end(struct client_run *run);
struct client_run *client_run_find(const struct holder *holder, uint64_t id); /* or NULL */

/* The run releases its lease, if it has one. */
void client_run_leave(struct client_run *run, uint64_t now_usec);
/* The run leases its next layer, which must be resident, and moves on. Returns the same as
 * lease_take. */
int client_run_enter(struct client_run *run, uint64_t now_usec);
