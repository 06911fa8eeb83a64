/* The successors of the units are one array. A program without an order soon loses the trust, and
 * gains it again when it enters some units as foreseen. */
#include "client/view/order.h"

#include <errno.h>
#include <stdlib.h>

enum { TRUSTED = 2, TRUST_MAX = 8, TRUST_LOST = 2 };

int order_init(struct order *order, uint32_t n_units)
{
    uint32_t *next = reallocarray(NULL, n_units, sizeof *next);

    if (!next)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_units; i++)
        next[i] = i + 1 < n_units ? i + 1 : 0;
    *order = (struct order){.next = next, .n_units = n_units, .at = ORDER_NONE, .trust = TRUSTED};
    return 0;
}

void order_done(struct order *order)
{
    free(order->next);
    *order = (struct order){.at = ORDER_NONE};
}

/* Goes on from `unit` to the first unit that is `goal` or is not skipped. */
static int64_t follow(const struct order *order, uint32_t unit, int64_t goal, order_skip skip,
                      const void *context)
{
    for (uint32_t i = 0; i < order->n_units; i++) {
        unit = order->next[unit];
        if (unit == goal || !skip(unit, context))
            return unit;
    }
    return ORDER_NONE;
}

int64_t order_after(const struct order *order, uint32_t unit, order_skip skip, const void *context)
{
    return follow(order, unit, ORDER_NONE, skip, context);
}

void order_enter(struct order *order, uint32_t unit, order_skip skip, const void *context)
{
    if (order->at == unit)
        return;
    if (order->at != ORDER_NONE) {
        /* A unit that is kept may have been mapped just now, so that it is skipped from now on. */
        if (follow(order, (uint32_t)order->at, unit, skip, context) == unit) {
            order->trust += order->trust < TRUST_MAX;
        } else {
            order->trust -= order->trust < TRUST_LOST ? order->trust : TRUST_LOST;
            order->next[order->at] = unit;
        }
    }
    order->at = unit;
}

bool order_is_trusted(const struct order *order)
{
    return order->trust >= TRUSTED;
}
