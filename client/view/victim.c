/* A process that waits for room releases its own units, one after the other, so that processes that
 * share an arena never wait for each other in a circle. Units that are used by chance come first,
 * then streamed ones. Without a plan no unit is streamed; then it releases the unit that was mapped
 * last but one. The units that were mapped first stay, which is best for a program that reads a
 * file again and again, and the unit that was mapped last may still be in use. */
#include "client/view/victim.h"

#include "client/view/chance.h"
#include "client/view/views.h"

/* False: no unit is held. */
static bool choose_mapped(struct view **ret_view, uint32_t *ret_unit)
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
            if (!unit_is_mapped(unit) || !unit->lease)
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

/* The streamed unit to release first, of any view: the one that was entered first, or else the one
 * that would be needed last. */
static bool choose_streamed(struct view **ret_view, uint32_t *ret_unit)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (view && view->streamed.n > 0) {
            const struct streamed *streamed = &view->streamed;
            bool is_entered = view->units[streamed->units[0]].is_entered;
            *ret_view = view;
            *ret_unit = streamed->units[is_entered ? 0 : streamed->n - 1];
            return true;
        }
    }
    return false;
}

static bool choose_by_chance(struct view **ret_view, uint32_t *ret_unit)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        *ret_view = view;
        if (view && chance_choose_any(view, ret_unit))
            return true;
    }
    return false;
}

bool victim_choose(struct view **ret_view, uint32_t *ret_unit)
{
    return choose_by_chance(ret_view, ret_unit) || choose_streamed(ret_view, ret_unit) ||
           choose_mapped(ret_view, ret_unit);
}
