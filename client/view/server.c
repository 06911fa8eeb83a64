/* Invariant: a mapped unit has a lease, or had one of a daemon that has ended and may come back. A
 * unit becomes a hole before its lease is released. No lock is held while the server waits for the
 * daemon.
 *
 * A process that waits for room releases its own units, one after the other, so that processes that
 * share an arena never wait for each other in a circle. It releases the unit that was mapped last
 * but one. The units that were mapped first stay, which is best for a program that reads a file
 * again and again, and the unit that was mapped last may still be in use. */
#include "client/view/server.h"

#include "client/view/daemon_link.h"
#include "client/view/notice.h"
#include "client/view/views.h"
#include "common/clock.h"
#include "common/units.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RETRY_MSEC = 20,               /* between two tries to connect again, or without memory */
    WAIT_USEC = 1000 * 1000,       /* for room, when there is no unit to release */
    GRACE_USEC = 30 * 1000 * 1000, /* the default of EDGEMIND_VIEW_GRACE */
};

struct server {
    struct daemon_link link;
    uint64_t lost_usec; /* when the connection was lost; 0: it is not lost, or not needed */
    uint64_t n_mapped;  /* counts mappings */
};

static void wait_for_memory(void)
{
    usleep(RETRY_MSEC * 1000);
}

static void release(struct server *server, json_t *lease)
{
    if (!lease)
        return;
    while (daemon_link_release(&server->link, lease) == -ENOMEM)
        wait_for_memory();
    json_decref(lease);
}

static json_t *take_lease(struct unit *unit)
{
    json_t *lease = unit->lease;
    unit->lease = NULL;
    unit->must_release = false;
    return lease;
}

/* Makes the unit a hole, or, if that fails, a mapping of the plain file. The caller holds the lock.
 */
static void make_hole(struct view *view, uint32_t unit)
{
    if (view_make_hole(view, unit, &views.faults) < 0)
        (void)view_make_plain(view, unit);
    view_wake(view, unit, &views.faults);
}

/* The caller holds the lock. False: no unit is held. */
static bool choose_victim(struct view **ret_view, uint32_t *ret_unit)
{
    struct {
        struct view *view;
        uint32_t unit;
        uint64_t at;
    } last = {0}, before = {0};

    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        for (uint32_t j = 0; view && j < view->table.n_units; j++) {
            const struct unit *unit = &view->units[j];
            if (atomic_load(&unit->state) != UNIT_MAPPED || !unit->lease)
                continue;
            if (unit->mapped_at > last.at) {
                before = last;
                last.view = view, last.unit = j, last.at = unit->mapped_at;
            } else if (unit->mapped_at > before.at)
                before.view = view, before.unit = j, before.at = unit->mapped_at;
        }
    }
    *ret_view = before.view ? before.view : last.view;
    *ret_unit = before.view ? before.unit : last.unit;
    return *ret_view != NULL;
}

static bool give_back_one(struct server *server)
{
    struct view *view;
    uint32_t unit;
    json_t *lease = NULL;

    views_lock();
    bool found = choose_victim(&view, &unit);
    if (found) {
        make_hole(view, unit);
        lease = take_lease(&view->units[unit]);
    }
    views_unlock();
    release(server, lease);
    return found;
}

/* Takes ownership of the lease. */
static void map(struct server *server, struct view *view, uint32_t index, json_t *reply)
{
    struct unit *unit = &view->units[index];
    json_t *lease = json_incref(json_object_get(reply, "lease"));

    views_lock();
    if (atomic_load(&unit->state) == UNIT_HOLE) {
        if (view_map_unit(view, index, reply, server->link.arena_fd) == 0) {
            unit->lease = lease;
            lease = NULL;
            unit->fill = json_integer_value(json_object_get(reply, "fill"));
            unit->mapped_at = ++server->n_mapped;
        } else
            (void)view_make_plain(view, index);
    }
    view_wake(view, index, &views.faults);
    views_unlock();
    release(server, lease);
}

static void give_up(struct view *view, uint32_t unit, bool is_bad)
{
    views_lock();
    if (atomic_load(&view->units[unit].state) == UNIT_HOLE &&
        (is_bad ? view_make_bad(view, unit) : view_make_plain(view, unit)) < 0)
        abort(); /* otherwise its threads would wait for ever */
    view_wake(view, unit, &views.faults);
    views_unlock();
}

static void look_for_copies(struct view *view, uint32_t unit)
{
    if (copy_watch_note(&view->copy_watch, view_unit_bytes(view, unit), view->table.covered_bytes))
        notice_of(view->path, "is copied by the program into its own memory, which the "
                              "arena's capacity does not limit; edgemind-view(7) says how "
                              "programs map their weights");
}

/* Makes the unit readable. If the connection is lost, the unit stays wanted. */
static void resolve(struct server *server, struct view *view, uint32_t index)
{
    struct unit *unit = &view->units[index];
    uint64_t wait_usec = 0;

    while (atomic_load(&unit->state) == UNIT_HOLE && server->link.varlink) {
        json_t *reply = NULL;
        int r = daemon_link_acquire(&server->link, view, view->table.names[index], wait_usec, 0,
                                    &reply);
        if (r == 0) {
            look_for_copies(view, index);
            map(server, view, index, reply);
            json_decref(reply);
            return;
        }
        if (r == -ENOMEM)
            wait_for_memory();
        else if (r == -EBUSY)
            wait_usec = give_back_one(server) ? 0 : WAIT_USEC;
        else if (r != -EPIPE)
            give_up(view, index, r == -ESTALE);
    }
    if (atomic_load(&unit->state) != UNIT_HOLE) {
        views_lock();
        view_wake(view, index, &views.faults);
        views_unlock();
    }
}

/* Calls `what` for each unit for which `which` is true. Neither is called with the lock. */
static bool for_units(struct server *server, bool (*which)(const struct unit *),
                      void (*what)(struct server *, struct view *, uint32_t))
{
    bool any = false;

    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        for (uint32_t j = 0; view && j < view->table.n_units; j++) {
            if (!which(&view->units[j]))
                continue;
            any = true;
            if (what)
                what(server, view, j);
        }
    }
    return any;
}

static bool is_wanted(const struct unit *unit)
{
    return atomic_load(&unit->wanted) != 0;
}

static bool is_held(const struct unit *unit)
{
    return atomic_load(&unit->state) == UNIT_MAPPED;
}

static bool is_any(const struct unit *unit)
{
    return atomic_load(&unit->state) != UNIT_PLAIN;
}

/* Leases a unit again after the connection was lost. If it is not the same load in the same arena,
 * the unit becomes a hole. */
static void take_up(struct server *server, struct view *view, uint32_t index)
{
    struct unit *unit = &view->units[index];
    const struct file_id before = server->link.arena;
    json_t *reply = NULL, *lease = NULL;

    if (!server->link.varlink)
        return;
    int r =
        daemon_link_acquire(&server->link, view, view->table.names[index], 0, unit->fill, &reply);
    if (r == -EPIPE)
        return;
    if (r == 0)
        lease = json_incref(json_object_get(reply, "lease"));
    bool is_same = r == 0 && json_integer_value(json_object_get(reply, "fill")) == unit->fill &&
                   file_id_equals(&before, &server->link.arena);
    views_lock();
    json_t *old = take_lease(unit);
    if (atomic_load(&unit->state) == UNIT_MAPPED) {
        /* The same bytes are mapped again, because the daemon counts on each mapping of the
         * descriptor that it gave to this connection. */
        if (is_same && view_map_unit(view, index, reply, server->link.arena_fd) == 0) {
            unit->lease = lease;
            lease = NULL;
        } else
            make_hole(view, index);
    }
    views_unlock();
    json_decref(old);
    json_decref(reply);
    release(server, lease);
}

static void become_plain(struct server *server, struct view *view, uint32_t unit)
{
    (void)server;
    views_lock();
    if (atomic_load(&view->units[unit].state) != UNIT_PLAIN)
        (void)view_make_plain(view, unit);
    view_wake(view, unit, &views.faults);
    views_unlock();
}

/* Declares the views that the daemon does not know yet. For a view without a fault, it tries to
 * connect only once. */
static void declare(struct server *server)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (!view || view->is_removed)
            continue;
        if (!server->link.varlink && (view->declared > 0 || daemon_link_open(&server->link) < 0))
            return;
        (void)daemon_link_declare(&server->link, view);
    }
}

static void drop(struct server *server, struct view *view, uint32_t index)
{
    (void)server;
    views_lock();
    json_t *lease = take_lease(&view->units[index]);
    if (atomic_load(&view->units[index].state) == UNIT_MAPPED)
        make_hole(view, index);
    views_unlock();
    json_decref(lease);
}

static void find_daemon(struct server *server)
{
    if (daemon_link_arena_is_emptied(&server->link))
        for_units(server, is_held, drop);
    if (!for_units(server, is_held, NULL))
        daemon_link_forget_arena(&server->link);
    if (server->lost_usec == 0)
        server->lost_usec = clock_monotonic_usec();
    if (daemon_link_open(&server->link) == 0) {
        declare(server);
        for_units(server, is_held, take_up);
    }
    if (server->link.varlink) {
        server->lost_usec = 0;
    } else if (clock_monotonic_usec() >= server->lost_usec + server->link.grace_usec) {
        atomic_store(&views.disabled, true);
        for_units(server, is_any, become_plain);
        notice_print("no daemon has come back: the weight files are mapped directly");
        server->lost_usec = 0;
    }
}

static void release_retired(struct server *server, struct view *view, uint32_t unit)
{
    views_lock();
    json_t *lease = view->units[unit].must_release ? take_lease(&view->units[unit]) : NULL;
    views_unlock();
    release(server, lease);
}

static bool is_retired(const struct unit *unit)
{
    return unit->must_release || unit->must_wake;
}

static bool has_retired(const struct view *view)
{
    for (uint32_t i = 0; i < view->table.n_units; i++)
        if (is_retired(&view->units[i]))
            return true;
    return false;
}

/* Tells the daemon which views have more outside of the arena than before, and which have ended. */
static void report(struct server *server)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (view && !view->is_removed)
            (void)daemon_link_update_view(&server->link, view);
        if (!view || !view->is_removed || has_retired(view))
            continue;
        atomic_store(&views.slots[i], NULL);
        while (atomic_load(&views.n_looking) != 0 || atomic_load(&view->n_faulting) != 0)
            usleep(100);
        while (daemon_link_end_view(&server->link, view) == -ENOMEM)
            wait_for_memory();
        views_lock(); /* the thread that retired it has continued */
        views_unlock();
        view_free(view);
    }
}

/* Whether there are units to lease, but no connection. */
static bool needs_daemon(struct server *server)
{
    return !server->link.varlink &&
           (for_units(server, is_held, NULL) || for_units(server, is_wanted, NULL));
}

static void wait_for_work(struct server *server)
{
    struct pollfd fds[] = {
        {.fd = views.wake_fd, .events = POLLIN},
        {.fd = server->link.varlink ? varlink_fd(server->link.varlink) : -1, .events = POLLRDHUP},
    };
    uint64_t n;

    poll(fds, 2, needs_daemon(server) ? RETRY_MSEC : -1);
    ssize_t r = fds[0].revents ? read(views.wake_fd, &n, sizeof n) : 0;
    (void)r;
}

static bool hung_up(const struct server *server)
{
    struct pollfd fd = {.fd = varlink_fd(server->link.varlink), .events = POLLRDHUP};
    return poll(&fd, 1, 0) > 0;
}

void server_run(void)
{
    struct server state = {.link.arena_fd = -1}, *server = &state;
    const char *grace = getenv("EDGEMIND_VIEW_GRACE");

    if (!grace || duration_parse(grace, &server->link.grace_usec) < 0)
        server->link.grace_usec = GRACE_USEC;

    for (;;) {
        wait_for_work(server);
        if (server->link.varlink && hung_up(server)) {
            daemon_link_close(&server->link);
            if (!for_units(server, is_held, NULL))
                daemon_link_forget_arena(&server->link);
        }
        if (needs_daemon(server))
            find_daemon(server);
        else
            declare(server);
        for_units(server, is_retired, release_retired);
        for_units(server, is_wanted, resolve);
        report(server);
    }
}
