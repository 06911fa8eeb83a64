/* Invariant: a unit may be chosen if it is counted and not in use. A unit that became plain or was
 * unmapped by an engine's thread is found out when it is chosen. */
#include "client/view/chance.h"

#include "client/view/route_record.h"
#include "client/view/views.h"
#include "common/clock.h"
#include "common/residency/layer_uses.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WAKE_USEC = 20 /* what a fault costs the thread beside the server's work */ };

static const char *name_of(const void *view, uint32_t unit)
{
    return ((const struct view *)view)->table.names[unit];
}

int chance_init(struct view *view)
{
    static atomic_flag is_recorded = ATOMIC_FLAG_INIT; /* a view of this process */
    bool is_any = false;

    view->chance = (struct chance){.hold_bytes = UINT64_MAX};
    for (uint32_t i = 0; i < view->table.n_units && !is_any; i++)
        is_any = layer_is_unit(view->table.names[i]);
    if (!is_any)
        return 0;
    view->chance.uses = layer_uses_new(name_of, view, view->table.n_units);
    view->chance.begun_usec = clock_monotonic_usec();
    if (!view->chance.uses)
        return -ENOMEM;
    const char *routes = getenv("EDGEMIND_VIEW_ROUTES");
    if (!routes || !*routes || atomic_flag_test_and_set(&is_recorded))
        return 0;
    view->chance.routes = route_record_new(routes, &view->table);
    return view->chance.routes ? 0 : -ENOMEM;
}

static bool is_in_arena(const struct unit *unit)
{
    return unit_is_mapped(unit) && unit->lease;
}

static void arm(struct view *view, uint32_t unit, const struct faults *faults)
{
    uint64_t begun_usec = clock_monotonic_usec();

    views_lock();
    if (atomic_load(&view->units[unit].state) == UNIT_MAPPED && view->units[unit].lease)
        (void)view_arm(view, unit, faults);
    views_unlock();
    /* As much again is spent when a thread comes. */
    view->chance.spent_usec += 2 * (clock_monotonic_usec() - begun_usec) + WAKE_USEC;
    view->chance.n_samples++;
}

static void end_use(struct view *view, uint32_t unit)
{
    if (view->units[unit].is_counted)
        layer_uses_offer(view->chance.uses, unit);
}

static void end_pass(struct view *view, const struct faults *faults)
{
    struct chance *chance = &view->chance;

    for (uint32_t i = 0; i < chance->n_in_use; i++) {
        end_use(view, chance->in_use[i]);
        if (is_in_arena(&view->units[chance->in_use[i]]) &&
            chance_may_sample(chance, clock_monotonic_usec()))
            arm(view, chance->in_use[i], faults);
    }
    chance->n_in_use = 0;
}

/* Whether another thread of the same pass has come to the unit before. */
static bool is_repeated(const struct chance *chance, uint32_t unit)
{
    if (layer_uses_is_in_pass(chance->uses, unit))
        return false;
    for (uint32_t i = 0; i < chance->n_in_use; i++)
        if (chance->in_use[i] == unit)
            return true;
    return false;
}

void chance_record(struct view *view, uint32_t unit)
{
    struct chance *chance = &view->chance;

    if (chance->routes && !is_repeated(chance, unit))
        route_record_use(chance->routes, unit);
}

void chance_enter(struct view *view, uint32_t unit, const struct faults *faults)
{
    struct chance *chance = &view->chance;

    if (!chance->uses || is_repeated(chance, unit))
        return;
    if (!layer_uses_is_in_pass(chance->uses, unit))
        end_pass(view, faults);
    layer_uses_enter(chance->uses, unit, 0);
    layer_uses_add(chance->uses, unit);
    layer_uses_withdraw(chance->uses, unit);
    if (chance->n_in_use == CHANCE_IN_USE_MAX) {
        end_use(view, chance->in_use[0]);
        memmove(chance->in_use, chance->in_use + 1, --chance->n_in_use * sizeof *chance->in_use);
    }
    chance->in_use[chance->n_in_use++] = unit;
}

void chance_mapped(struct view *view, uint32_t unit)
{
    struct chance *chance = &view->chance;

    if (!chance->uses || view->units[unit].is_counted)
        return;
    view->units[unit].is_counted = true;
    chance->held_bytes += view->table.bytes[unit];
    chance->n_held++;
    layer_uses_offer(chance->uses, unit);
}

void chance_unmapped(struct view *view, uint32_t unit)
{
    struct chance *chance = &view->chance;

    if (!chance->uses || !view->units[unit].is_counted)
        return;
    view->units[unit].is_counted = false;
    chance->held_bytes -= view->table.bytes[unit];
    chance->n_held--;
    layer_uses_withdraw(chance->uses, unit);
}

bool chance_choose_any(struct view *view, uint32_t *ret)
{
    struct chance *chance = &view->chance;

    while (chance->uses && layer_uses_furthest(chance->uses, 0, ret) >= 0) {
        if (is_in_arena(&view->units[*ret]))
            return true;
        chance_unmapped(view, *ret);
    }
    /* Rather an early unit of this pass than none. */
    for (uint32_t i = 0; chance->uses && i + 1 < chance->n_in_use; i++)
        if (is_in_arena(&view->units[chance->in_use[i]])) {
            *ret = chance->in_use[i];
            return true;
        }
    return false;
}

/* Of all views, which share a connection. */
static uint32_t count_held(void)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        const struct view *view = atomic_load(&views.slots[i]);
        n += view ? view->chance.n_held : 0;
    }
    return n;
}

bool chance_choose(struct view *view, uint64_t needed_bytes, uint32_t *ret)
{
    const struct chance *chance = &view->chance;
    bool is_too_much = chance->hold_bytes < needed_bytes ||
                       chance->held_bytes > chance->hold_bytes - needed_bytes ||
                       count_held() + (needed_bytes > 0) > CHANCE_UNITS_MAX;

    return chance->uses && chance->n_held > 0 && is_too_much && chance_choose_any(view, ret);
}
