/* Owns the thread's loop, and what it does when the daemon ends and comes back. What it does for a
 * fault is in residency.c. */
#include "client/view/server.h"

#include "client/view/notice.h"
#include "client/view/plan_link.h"
#include "client/view/progress.h"
#include "client/view/residency.h"
#include "client/view/touch.h"
#include "client/view/use_report.h"
#include "client/view/views.h"
#include "common/clock.h"
#include "common/units.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RETRY_MSEC = RESIDENCY_RETRY_USEC / 1000, /* between two tries to connect again */
    REST_MSEC = 100, /* nothing is read, then streamed units are released */
    TICK_USEC = 200,
    GRACE_USEC = 30 * 1000 * 1000 /* the default of EDGEMIND_VIEW_GRACE */
};

struct server {
    struct residency residency;
    struct plan_link plan;
    uint64_t plan_serial; /* of the connection for which plans were asked for */
    uint64_t lost_usec;   /* when the connection was lost; 0: it is not lost, or not needed */
};

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

static void resolve(struct server *server, struct view *view, uint32_t unit)
{
    residency_resolve(&server->residency, view, unit);
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
    const struct file_id before = server->residency.link.arena;
    int touch_fd = server->residency.touch_fd;
    json_t *reply = NULL, *lease = NULL;

    if (!server->residency.link.varlink)
        return;
    int r = daemon_link_acquire(&server->residency.link, view, view->table.names[index], 0,
                                unit->fill, &reply);
    if (r == -EPIPE)
        return;
    if (r == 0)
        lease = json_incref(json_object_get(reply, "lease"));
    bool is_same = r == 0 && json_integer_value(json_object_get(reply, "fill")) == unit->fill &&
                   file_id_equals(&before, &server->residency.link.arena);
    if (view->streamed.next_kept == index)
        view->streamed.next_kept = ORDER_NONE; /* it is mapped again */
    views_lock();
    json_t *old = residency_take_lease(unit);
    if (unit_is_mapped(unit)) {
        enum first_page first = atomic_load(&unit->state) == UNIT_ARMED ? FIRST_HOLE
                                : unit->is_watched && !view_is_touched(view, index, touch_fd)
                                    ? FIRST_UNTOUCHED
                                    : FIRST_POPULATED;
        /* The same bytes are mapped again, because the daemon counts on each mapping of the
         * descriptor that it gave to this connection. */
        if (is_same &&
            view_map_unit(view, index, reply, server->residency.link.arena_fd, first) == 0) {
            unit->lease = lease;
            lease = NULL;
            if (first == FIRST_UNTOUCHED)
                progress_watch(view, index, touch_fd);
        } else
            residency_make_hole(view, index);
    }
    views_unlock();
    json_decref(old);
    json_decref(reply);
    residency_release(&server->residency, lease);
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

/* Declares the views that the daemon does not know yet, and asks for the plans. For a view without
 * a fault, it tries to connect only once. */
static void declare(struct server *server)
{
    struct daemon_link *link = &server->residency.link;

    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (!view || view->is_removed)
            continue;
        if (!link->varlink && (view->declared > 0 || daemon_link_open(link) < 0))
            return;
        if (residency_declare(&server->residency, view) < 0)
            return;
        if (view->id && server->plan_serial != link->serial) {
            plan_link_close(&server->plan);
            server->plan_serial = link->serial;
            (void)plan_link_open(&server->plan, view);
        }
    }
}

static struct view *find_view(const json_t *id)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (view && view->id && json_equal(view->id, id))
            return view;
    }
    return NULL;
}

static void follow_plans(struct server *server)
{
    json_t *plan;

    while (server->residency.link.varlink && server->plan.varlink &&
           plan_link_receive(&server->plan, &plan) == 0) {
        struct view *view = find_view(json_object_get(plan, "view"));
        if (view) {
            plan_apply(plan, view);
            residency_follow_plan(&server->residency, view);
        }
        json_decref(plan);
    }
}

static void drop(struct server *server, struct view *view, uint32_t unit)
{
    residency_give_back(&server->residency, view, unit);
}

static void find_daemon(struct server *server)
{
    struct daemon_link *link = &server->residency.link;

    if (daemon_link_arena_is_emptied(link))
        for_units(server, unit_is_mapped, drop);
    if (!for_units(server, unit_is_mapped, NULL))
        daemon_link_forget_arena(link);
    if (server->lost_usec == 0)
        server->lost_usec = clock_monotonic_usec();
    if (daemon_link_open(link) == 0) {
        server->residency.knows_no_next = false;
        declare(server);
        for_units(server, unit_is_mapped, take_up);
    }
    if (link->varlink) {
        server->lost_usec = 0;
        if (link->serial > 1)
            server->residency.retry_until_usec = clock_monotonic_usec() + link->grace_usec;
    } else if (clock_monotonic_usec() >= server->lost_usec + link->grace_usec) {
        atomic_store(&views.disabled, true);
        for_units(server, is_any, become_plain);
        notice_print("no daemon has come back: the weight files are mapped directly");
        server->lost_usec = 0;
    }
}

static void release_retired(struct server *server, struct view *view, uint32_t unit)
{
    views_lock();
    json_t *lease =
        view->units[unit].must_release ? residency_take_lease(&view->units[unit]) : NULL;
    views_unlock();
    residency_release(&server->residency, lease);
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

/* Tells the daemon which views have more outside of the arena than before, how often their units
 * are used, and which have ended. */
static void report(struct server *server)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (view && !view->is_removed) {
            (void)daemon_link_update_view(&server->residency.link, view);
            (void)use_report(&server->residency.link, view, clock_monotonic_usec());
        }
        if (!view || !view->is_removed || has_retired(view) ||
            residency_has_asked(&server->residency, view))
            continue;
        atomic_store(&views.slots[i], NULL);
        while (atomic_load(&views.n_looking) != 0 || atomic_load(&view->n_faulting) != 0)
            usleep(100);
        while (daemon_link_end_view(&server->residency.link, view) == -ENOMEM)
            usleep(RESIDENCY_RETRY_USEC);
        views_lock(); /* the thread that retired it has continued */
        views_unlock();
        view_free(view);
    }
}

/* Whether there are units to lease, but no connection. */
static bool needs_daemon(struct server *server)
{
    return !server->residency.link.varlink &&
           (for_units(server, unit_is_mapped, NULL) || for_units(server, is_wanted, NULL));
}

/* Looks again and again where threads are. It helps, too, that this thread never sleeps for long:
 * Linux may leave two threads of an engine, which spin, on one processor for 20 ms while another is
 * idle. A processor that becomes idle looks for threads that wait elsewhere. So while a view
 * streams, this thread sleeps only shortly at a time. */
static int wait_for(struct residency *residency, struct pollfd *fds, nfds_t n, int timeout_msec)
{
    const struct timespec tick = {.tv_nsec = TICK_USEC * 1000};
    int ready = 0;

    for (int usec = 0; ready == 0 && usec < timeout_msec * 1000; usec += TICK_USEC) {
        ready = ppoll(fds, n, &tick, NULL);
        if (ready == 0)
            ready = residency_look(residency);
    }
    return ready;
}

static void wait_for_work(struct server *server)
{
    struct residency *residency = &server->residency;
    struct pollfd fds[] = {
        {.fd = views.wake_fd, .events = POLLIN},
        {.fd = residency->link.varlink ? varlink_fd(residency->link.varlink) : -1,
         .events = residency->n_asked > 0 ? POLLIN | POLLRDHUP : POLLRDHUP},
        {.fd = server->plan.varlink ? varlink_fd(server->plan.varlink) : -1, .events = POLLIN},
    };
    bool is_streaming = residency_is_streaming();
    uint64_t n;

    bool retries = needs_daemon(server) || residency->must_retry;
    int timeout_msec = is_streaming ? REST_MSEC : -1;
    if (retries)
        timeout_msec = RETRY_MSEC;
    int ready =
        is_streaming ? wait_for(residency, fds, 3, timeout_msec) : poll(fds, 3, timeout_msec);
    ssize_t r = fds[0].revents ? read(views.wake_fd, &n, sizeof n) : 0;
    (void)r;
    residency->must_retry = false;
    if (ready == 0 && !retries && is_streaming && residency->n_asked == 0)
        residency_rest(residency);
}

static bool polls(const struct varlink *varlink, short events)
{
    struct pollfd fd = {.fd = varlink_fd(varlink), .events = events};
    return poll(&fd, 1, 0) > 0;
}

static void receive(struct residency *residency)
{
    while (residency->n_asked > 0 && residency->link.varlink &&
           polls(residency->link.varlink, POLLIN))
        residency_receive(residency);
}

void server_run(void)
{
    struct server state = {.residency = {.link.arena_fd = -1, .touch_fd = touch_open()}},
                  *server = &state;
    struct residency *residency = &server->residency;
    const char *grace = getenv("EDGEMIND_VIEW_GRACE");

    if (!grace || duration_parse(grace, &residency->link.grace_usec) < 0)
        residency->link.grace_usec = GRACE_USEC;

    for (;;) {
        wait_for_work(server);
        (void)residency_look(residency);
        receive(residency);
        if (residency->link.varlink && polls(residency->link.varlink, POLLRDHUP)) {
            daemon_link_close(&residency->link);
            if (!for_units(server, unit_is_mapped, NULL))
                daemon_link_forget_arena(&residency->link);
        }
        if (!residency->link.varlink)
            residency_forget_asked(residency);
        if (needs_daemon(server))
            find_daemon(server);
        else
            declare(server);
        follow_plans(server);
        for_units(server, is_retired, release_retired);
        for_units(server, is_wanted, resolve);
        report(server);
    }
}
