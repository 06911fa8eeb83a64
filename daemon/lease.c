/* Leases end in three ways: released, their connection's end, and never otherwise. */
#include "daemon/lease.h"

#include <errno.h>

void leases_init(struct leases *leases, struct scheduler *scheduler)
{
    *leases = (struct leases){.scheduler = scheduler};
    LIST_INIT(&leases->holders);
}

struct holder *holder_new(struct leases *leases, const struct peer *peer)
{
    struct holder *holder = calloc(1, sizeof *holder);
    if (!holder)
        return NULL;
    holder->leases = leases;
    holder->peer = *peer;
    TAILQ_INIT(&holder->list);
    LIST_INSERT_HEAD(&leases->holders, holder, entry);
    return holder;
}

static void give_back(struct lease *lease)
{
    struct holder *holder = lease->holder;
    scheduler_unpin(holder->leases->scheduler, lease->layer);
    TAILQ_REMOVE(&holder->list, lease, entry);
    holder->n_leases--;
    free(lease);
}

struct holder *holder_free(struct holder *holder)
{
    if (!holder)
        return NULL;
    while (!TAILQ_EMPTY(&holder->list))
        give_back(TAILQ_FIRST(&holder->list));
    LIST_REMOVE(holder, entry);
    free(holder);
    return NULL;
}

int lease_take(struct holder *holder, struct layer *layer, const struct lease **ret)
{
    if (holder->n_leases == LEASES_PER_CONNECTION_MAX)
        return -EMFILE;
    struct lease *lease = malloc(sizeof *lease);
    if (!lease)
        return -ENOMEM;
    *lease = (struct lease){
        .layer = layer,
        .holder = holder,
        .id = ++holder->leases->last_id,
    };
    scheduler_pin(holder->leases->scheduler, layer);
    TAILQ_INSERT_TAIL(&holder->list, lease, entry);
    holder->n_leases++;
    *ret = lease;
    return 0;
}

int lease_release(struct holder *holder, uint64_t id)
{
    struct lease *lease;
    TAILQ_FOREACH (lease, &holder->list, entry) {
        if (lease->id == id) {
            give_back(lease);
            return 0;
        }
    }
    return -ENOENT;
}
