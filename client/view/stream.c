/* Threads of one computation are in at most a few units at the same time. How many is learned: if a
 * thread comes back to a unit right after it was released, that was too early. */
#include "client/view/stream.h"

#include <errno.h>
#include <string.h>

enum {
    AHEAD_LARGEST = 1, /* as many bytes as this many of the largest unit are mapped ahead */
    UNORDERED_LAG = 2  /* without a known order: how many units stay beside the last one */
};

static int find(const struct streamed *streamed, uint32_t unit)
{
    for (unsigned i = 0; i < streamed->n; i++)
        if (streamed->units[i] == unit)
            return (int)i;
    return -1;
}

static void drop(struct streamed *streamed, unsigned at)
{
    streamed->n--;
    memmove(streamed->units + at, streamed->units + at + 1,
            (streamed->n - at) * sizeof *streamed->units);
}

void stream_add(struct view *view, uint32_t unit)
{
    struct streamed *streamed = &view->streamed;

    if (streamed->n < VIEW_STREAMED_MAX && find(streamed, unit) < 0)
        streamed->units[streamed->n++] = unit;
}

void stream_remove(struct view *view, uint32_t unit)
{
    struct streamed *streamed = &view->streamed;
    int at = find(streamed, unit);

    if (at < 0)
        return;
    drop(streamed, (unsigned)at);
    if (view->units[unit].is_entered) {
        memmove(streamed->last + 1, streamed->last, sizeof streamed->last - sizeof *streamed->last);
        streamed->last[0] = unit;
    }
}

/* Kept units that are mapped raise no faults. */
static bool skip(uint32_t unit, const void *context)
{
    const struct view *view = context;
    unsigned state = atomic_load(&view->units[unit].state);
    return state == UNIT_PLAIN || (state == UNIT_MAPPED && view->units[unit].is_kept);
}

void stream_enter(struct view *view, uint32_t unit)
{
    struct streamed *streamed = &view->streamed;
    int at = find(streamed, unit);
    bool was_known = order_is_trusted(&view->order);

    order_enter(&view->order, unit, skip, view);
    for (unsigned i = 0; i < VIEW_LAG_MAX; i++)
        if (streamed->last[i] == unit && was_known && streamed->lag <= i)
            streamed->lag = i + 1;
    view->units[unit].is_entered = true;
    view->units[unit].is_watched = false;
    streamed->is_passed = false;
    if (at < 0)
        return;
    /* To the end of those that were entered. */
    drop(streamed, (unsigned)at);
    unsigned end = 0;
    while (end < streamed->n && view->units[streamed->units[end]].is_entered)
        end++;
    memmove(streamed->units + end + 1, streamed->units + end,
            (streamed->n - end) * sizeof *streamed->units);
    streamed->units[end] = unit;
    streamed->n++;
}

int64_t stream_choose_next_kept(const struct view *view)
{
    const struct order *order = &view->order;

    if (!order_is_trusted(order) || order->at == ORDER_NONE || view->units[order->at].is_kept)
        return ORDER_NONE;
    uint32_t after = order->next[order->at];
    return view->units[after].is_kept ? (int64_t)after : ORDER_NONE;
}

int64_t stream_choose_next(const struct view *view, uint32_t unit)
{
    int64_t next = order_after(&view->order, unit, skip, view);

    return !view->chance.uses && order_is_trusted(&view->order) && next != ORDER_NONE &&
                   next != unit && atomic_load(&view->units[next].state) == UNIT_HOLE &&
                   !view->units[next].is_asked
               ? next
               : ORDER_NONE;
}

unsigned stream_choose_ahead(const struct view *view, uint32_t ret[VIEW_STREAMED_MAX])
{
    uint64_t left_bytes = (AHEAD_LARGEST + view->streamed.is_passed) * view->largest_bytes;
    int64_t unit = view->order.at;
    unsigned n = 0;

    if (!order_is_trusted(&view->order) || unit == ORDER_NONE)
        return 0;
    while (n < VIEW_STREAMED_MAX / 2) {
        unit = order_after(&view->order, (uint32_t)unit, skip, view);
        if (unit == ORDER_NONE || unit == view->order.at || view->units[unit].is_entered ||
            view->table.bytes[unit] > left_bytes)
            break;
        left_bytes -= view->table.bytes[unit];
        ret[n++] = (uint32_t)unit;
    }
    return n;
}

static bool is_among(uint32_t unit, const uint32_t *units, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (units[i] == unit)
            return true;
    return false;
}

bool stream_find_needless(const struct view *view, const uint32_t *ahead, unsigned n_ahead,
                          uint32_t *ret)
{
    const struct streamed *streamed = &view->streamed;
    bool is_ordered = order_is_trusted(&view->order);
    unsigned lag = is_ordered ? streamed->lag : UNORDERED_LAG, n_entered = 0, n_left;

    while (n_entered < streamed->n && view->units[streamed->units[n_entered]].is_entered)
        n_entered++;
    n_left = n_entered + (is_ordered && streamed->is_passed);
    for (unsigned i = 0; i < streamed->n; i++) {
        *ret = streamed->units[i];
        if (i < n_entered ? i + lag + 1 < n_left : !is_among(*ret, ahead, n_ahead))
            return true;
    }
    return false;
}
