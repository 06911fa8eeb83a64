/* Invariant: a mapped unit has a lease, or had one of a daemon that has ended and may come back. A
 * unit becomes a hole before its lease is released. No lock is held while the server waits for the
 * daemon. */
#include "client/view/residency.h"

#include "client/view/chance.h"
#include "client/view/notice.h"
#include "client/view/progress.h"
#include "client/view/stream.h"
#include "client/view/victim.h"
#include "client/view/views.h"
#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_USEC = 50 * 1000 /* for room, when there is no unit to release */ };

static void wait_for_memory(void)
{
    usleep(RESIDENCY_RETRY_USEC);
}

void residency_release(struct residency *residency, json_t *lease)
{
    if (!lease)
        return;
    while (daemon_link_release(&residency->link, lease) == -ENOMEM)
        wait_for_memory();
    json_decref(lease);
}

json_t *residency_take_lease(struct unit *unit)
{
    json_t *lease = unit->lease;
    unit->lease = NULL;
    unit->must_release = false;
    return lease;
}

void residency_make_hole(struct view *view, uint32_t unit)
{
    if (view_make_hole(view, unit, &views.faults) < 0)
        (void)view_make_plain(view, unit);
    view_wake(view, unit, &views.faults);
}

void residency_give_back(struct residency *residency, struct view *view, uint32_t index)
{
    json_t *lease = NULL;

    views_lock();
    if (unit_is_mapped(&view->units[index])) {
        residency_make_hole(view, index);
        lease = residency_take_lease(&view->units[index]);
    }
    views_unlock();
    stream_remove(view, index);
    chance_unmapped(view, index);
    view->units[index].is_entered = view->units[index].is_watched = false;
    residency_release(residency, lease);
}

/* Releases units until the view holds no more than it may, with so much more. */
static void make_room(struct residency *residency, struct view *view, uint64_t needed_bytes)
{
    uint32_t unit;

    while (chance_choose(view, needed_bytes, &unit))
        residency_give_back(residency, view, unit);
}

static bool give_back_one(struct residency *residency)
{
    struct view *view;
    uint32_t unit;

    if (!victim_choose(&view, &unit))
        return false;
    residency_give_back(residency, view, unit);
    return true;
}

/* Takes a reference to the lease. */
static void map(struct residency *residency, struct view *view, uint32_t index, json_t *reply)
{
    struct unit *unit = &view->units[index];
    json_t *lease = json_incref(json_object_get(reply, "lease"));

    views_lock();
    bool is_ahead = atomic_load(&unit->wanted) == 0;
    if (atomic_load(&unit->state) == UNIT_HOLE) {
        enum first_page first = !is_ahead                                  ? FIRST_POPULATED
                                : unit->is_kept || residency->touch_fd < 0 ? FIRST_HOLE
                                                                           : FIRST_UNTOUCHED;
        if (view_map_unit(view, index, reply, residency->link.arena_fd, first) == 0) {
            unit->lease = lease;
            lease = NULL;
            unit->fill = json_integer_value(json_object_get(reply, "fill"));
            unit->mapped_at = ++residency->n_mapped;
            unit->is_entered = false;
            if (first == FIRST_UNTOUCHED)
                progress_watch(view, index, residency->touch_fd);
        } else
            (void)view_make_plain(view, index);
    }
    if (unit_is_mapped(unit) && !is_ahead)
        chance_record(view, index);
    view_wake(view, index, &views.faults);
    bool is_streamed = unit_is_mapped(unit) && !unit->is_kept;
    views_unlock();
    residency_release(residency, lease);
    if (unit_is_mapped(unit))
        chance_mapped(view, index);
    if (is_streamed)
        stream_add(view, index);
    if (unit_is_mapped(unit) && !is_ahead)
        progress_enter(view, index, residency->touch_fd);
}

static void give_up(struct residency *residency, struct view *view, uint32_t unit, int error)
{
    if (error == -ENOENT && residency->retry_until_usec > 0) {
        notice_of(view->path, "is mapped directly from now on: the daemon does not know its model "
                              "any more");
        residency->retry_until_usec = 0;
    }
    views_lock();
    if (atomic_load(&view->units[unit].state) == UNIT_HOLE &&
        (error == -ESTALE ? view_make_bad(view, unit) : view_make_plain(view, unit)) < 0)
        abort(); /* otherwise its threads would wait for ever */
    view_wake(view, unit, &views.faults);
    views_unlock();
}

/* The daemon refuses to lease the unit. */
static void on_refusal(struct residency *residency, struct view *view, uint32_t unit, int error)
{
    if (error == -ENOENT && clock_monotonic_usec() < residency->retry_until_usec) {
        if (daemon_link_end_view(&residency->link, view) == 0)
            view->declared = 0; /* it is bound to the model that was registered then */
        residency->must_retry = true;
    } else if (error != -EBUSY && atomic_load(&view->units[unit].wanted)) {
        give_up(residency, view, unit, error);
    }
}

/* Errors as of daemon_link_ask, or -ENOBUFS. */
static int ask(struct residency *residency, struct view *view, uint32_t unit, uint64_t wait_usec,
               bool is_ahead)
{
    if (residency->n_asked == RESIDENCY_ASKED_MAX)
        return -ENOBUFS;
    int64_t next = residency->knows_no_next ? ORDER_NONE : stream_choose_next(view, unit);
    int r = daemon_link_ask(&residency->link, view, view->table.names[unit],
                            next == ORDER_NONE ? NULL : view->table.names[next], wait_usec, 0,
                            is_ahead);
    if (r == 0) {
        residency->asked[residency->n_asked++] = (struct asked){view, unit};
        view->units[unit].is_asked = true;
    }
    return r;
}

/* Receives the next reply, whose unit is `ret`. Returns what daemon_link_receive does, or -EAGAIN:
 * a daemon of an older version may have refused only that the call named the next unit. */
static int receive(struct residency *residency, struct asked *ret)
{
    _cleanup_(json_decrefp) json_t *reply = NULL;

    *ret = residency->asked[0];
    int r = daemon_link_receive(&residency->link, &reply);
    if (r == -EPIPE) {
        residency_forget_asked(residency);
        return r;
    }
    residency->n_asked--;
    memmove(residency->asked, residency->asked + 1, residency->n_asked * sizeof *residency->asked);
    ret->view->units[ret->unit].is_asked = false;
    if (r == -EREMOTEIO && !residency->knows_no_next) {
        residency->knows_no_next = true;
        r = -EAGAIN;
    } else if (r == 0)
        map(residency, ret->view, ret->unit, reply);
    else
        on_refusal(residency, ret->view, ret->unit, r);
    return r;
}

void residency_forget_asked(struct residency *residency)
{
    for (unsigned i = 0; i < residency->n_asked; i++)
        residency->asked[i].view->units[residency->asked[i].unit].is_asked = false;
    residency->n_asked = 0;
}

bool residency_has_asked(const struct residency *residency, const struct view *view)
{
    for (unsigned i = 0; i < residency->n_asked; i++)
        if (residency->asked[i].view == view)
            return true;
    return false;
}

int residency_declare(struct residency *residency, struct view *view)
{
    if (view->declared == residency->link.serial)
        return 0;
    while (residency->n_asked > 0) {
        struct asked asked;
        (void)receive(residency, &asked);
    }
    return residency->link.varlink ? daemon_link_declare(&residency->link, view) : -EPIPE;
}

/* Waits until the unit is no hole any more. */
static void fetch(struct residency *residency, struct view *view, uint32_t index)
{
    struct unit *unit = &view->units[index];
    struct asked asked = {0};
    uint64_t wait_usec = 0;

    while (atomic_load(&unit->state) == UNIT_HOLE && residency->link.varlink) {
        int r = residency_declare(residency, view);
        if (r == 0 && !view->id) {
            on_refusal(residency, view, index, -ENOENT);
            return;
        }
        if (r == 0 && !unit->is_asked)
            make_room(residency, view, view->table.bytes[index]);
        if (r == 0 && !unit->is_asked)
            r = ask(residency, view, index, wait_usec, false);
        if (r == -ENOMEM)
            wait_for_memory();
        if (r == 0 || r == -ENOBUFS)
            r = receive(residency, &asked);
        if (residency->must_retry)
            return;
        if (r == -EBUSY && asked.view == view && asked.unit == index)
            wait_usec = give_back_one(residency) ? 0 : WAIT_USEC;
    }
}

static void disarm(struct residency *residency, struct view *view, uint32_t index)
{
    views_lock();
    if (atomic_load(&view->units[index].state) == UNIT_ARMED &&
        view_disarm(view, index, residency->link.arena_fd) < 0)
        (void)view_make_plain(view, index);
    chance_record(view, index);
    view_wake(view, index, &views.faults);
    views_unlock();
}

static void read_ahead(struct residency *residency, struct view *view)
{
    uint32_t units[VIEW_STREAMED_MAX], unit;
    unsigned n = stream_choose_ahead(view, units);

    if (!residency->link.varlink)
        return; /* the next daemon keeps the leases until they are taken up */
    while (stream_find_needless(view, units, n, &unit))
        residency_give_back(residency, view, unit);
    for (unsigned i = 0; i < n && residency->link.varlink; i++)
        if (atomic_load(&view->units[units[i]].state) == UNIT_HOLE &&
            !view->units[units[i]].is_asked && ask(residency, view, units[i], 0, true) < 0)
            return;
}

void residency_receive(struct residency *residency)
{
    struct asked asked;

    if (receive(residency, &asked) == 0 && !asked.view->chance.uses &&
        asked.view->order.at == asked.unit)
        read_ahead(residency, asked.view); /* a thread came to it while the lease was on its way */
}

bool residency_look(struct residency *residency)
{
    bool any = false;

    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (!view || !progress_look(view, residency->touch_fd))
            continue;
        read_ahead(residency, view);
        any = true;
    }
    return any;
}

void residency_resolve(struct residency *residency, struct view *view, uint32_t index)
{
    struct unit *unit = &view->units[index];

    if (atomic_load(&unit->state) < UNIT_MAPPED)
        progress_note_read(view, index);
    if (atomic_load(&unit->state) == UNIT_ARMED) {
        disarm(residency, view, index);
    } else {
        uint64_t begun_usec = clock_monotonic_usec();
        fetch(residency, view, index);
        view->chance.read_usec += clock_monotonic_usec() - begun_usec;
    }
    if (!unit_is_mapped(unit)) {
        if (atomic_load(&unit->state) == UNIT_PLAIN) {
            views_lock();
            view_wake(view, index, &views.faults);
            views_unlock();
        }
        return;
    }
    progress_enter(view, index, residency->touch_fd);
    if (!view->chance.uses)
        read_ahead(residency, view);
}

void residency_follow_plan(struct residency *residency, struct view *view)
{
    for (uint32_t i = 0; i < view->table.n_units; i++) {
        if (view->units[i].is_kept)
            stream_remove(view, i);
        else if (unit_is_mapped(&view->units[i]) && view->order.at == i)
            stream_add(view, i);
        else if (unit_is_mapped(&view->units[i]))
            residency_give_back(residency, view, i);
    }
    make_room(residency, view, 0);
}

/* The view's streamed units, except for the one that was entered last, are of no use at rest. */
static bool find_resting(struct view **ret_view, uint32_t *ret_unit)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        for (unsigned j = 0; view && j < view->streamed.n; j++) {
            *ret_view = view;
            *ret_unit = view->streamed.units[j];
            if (*ret_unit != view->order.at)
                return true;
        }
    }
    return false;
}

void residency_rest(struct residency *residency)
{
    struct view *view;
    uint32_t unit;

    while (find_resting(&view, &unit))
        residency_give_back(residency, view, unit);
}

bool residency_is_streaming(void)
{
    struct view *view;
    uint32_t unit;

    return find_resting(&view, &unit);
}
