/* Checks soon at first, because a client that has ended unmaps the arena in a moment, and then more
 * and more seldom. */
#include "daemon/methods/orphans.h"

#include "common/clock.h"
#include "common/log.h"
#include "daemon/arena/client_locks.h"

enum { FIRST_WAIT_USEC = 1000, LAST_WAIT_USEC = 256 * 1000, TOLD_AFTER_USEC = 64 * 1000 };

void orphans_init(struct orphans *orphans, struct event_base *base, struct leases *leases,
                  int arena_fd)
{
    *orphans = (struct orphans){.base = base, .leases = leases, .arena_fd = arena_fd};
}

static struct holder *find_ending(const struct orphans *orphans)
{
    struct holder *holder = LIST_FIRST(&orphans->leases->holders);
    while (holder && !holder->is_ending)
        holder = LIST_NEXT(holder, entry);
    return holder;
}

/* Ends a portion of the leases of one client in each turn of the loop. */
static void on_ending(evutil_socket_t fd, short what, void *context)
{
    struct orphans *orphans = context;
    struct holder *holder;
    (void)fd;
    (void)what;

    do {
        holder = find_ending(orphans);
        if (holder && !holder_release_portion(holder))
            holder_free(holder);
    } while (holder && event_add(orphans->ending, &(struct timeval){0}) < 0);
}

/* The client's leases end, at once if they are few or there is no memory for the event. */
static void end_leases(struct orphans *orphans, struct holder *holder)
{
    holder->is_orphan = false;
    if (!orphans->ending)
        orphans->ending = event_new(orphans->base, -1, 0, on_ending, orphans);
    holder->is_ending = holder_release_portion(holder) && orphans->ending &&
                        event_add(orphans->ending, &(struct timeval){0}) == 0;
    if (!holder->is_ending)
        holder_free(holder);
}

static bool has_arena(const struct orphans *orphans, const struct holder *holder)
{
    return holder->lock_id > 0 && holder->n_leases > 0 &&
           client_locks_are_held(orphans->arena_fd, holder->lock_id, holder->lock_id);
}

static void check_later(struct orphans *orphans)
{
    struct timeval wait = {.tv_sec = 0, .tv_usec = (suseconds_t)orphans->wait_usec};

    event_add(orphans->checking, &wait);
    if (orphans->wait_usec < LAST_WAIT_USEC)
        orphans->wait_usec *= 2;
}

static void check(evutil_socket_t fd, short what, void *context)
{
    struct orphans *orphans = context;
    struct holder *holder, *next;
    bool is_left = false;
    (void)fd;
    (void)what;

    for (holder = LIST_FIRST(&orphans->leases->holders); holder; holder = next) {
        next = LIST_NEXT(holder, entry);
        if (!holder->is_orphan)
            continue;
        if (!has_arena(orphans, holder)) {
            end_leases(orphans, holder);
            continue;
        }
        is_left = true;
        if (orphans->wait_usec == TOLD_AFTER_USEC)
            log_notice("process %d has lost its connection, but still has the arena mapped: its %u "
                       "leases stay",
                       (int)holder->peer.pid, holder->n_leases);
    }
    if (is_left)
        check_later(orphans);
}

int orphans_lock(struct orphans *orphans, struct holder *holder, int client_fd)
{
    uint64_t now_usec = clock_monotonic_usec(), last = orphans->leases->last_lock_id;
    uint64_t id = now_usec > last ? now_usec : last + 1;
    int r = client_lock_take(client_fd, id);

    if (r == 0)
        holder->lock_id = orphans->leases->last_lock_id = id;
    return r;
}

void orphans_take(struct orphans *orphans, struct holder *holder)
{
    holder_end_connection(holder);
    if (!orphans->checking)
        orphans->checking = event_new(orphans->base, -1, 0, check, orphans);
    if (!orphans->checking || !has_arena(orphans, holder)) {
        end_leases(orphans, holder);
        return;
    }
    holder->is_orphan = true;
    orphans->wait_usec = FIRST_WAIT_USEC;
    check_later(orphans);
}

void orphans_done(struct orphans *orphans)
{
    struct holder *holder, *next;

    for (holder = orphans->leases ? LIST_FIRST(&orphans->leases->holders) : NULL; holder;
         holder = next) {
        next = LIST_NEXT(holder, entry);
        holder_free(holder);
    }
    if (orphans->checking)
        event_free(orphans->checking);
    if (orphans->ending)
        event_free(orphans->ending);
}
