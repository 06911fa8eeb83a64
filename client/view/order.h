/* The order in which a program enters the units of a view, learned while it does so. A program that
 * evaluates a model enters them in the same order again and again. Until that order is known, the
 * order of the model's layers takes its place. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { ORDER_NONE = -1 };

struct order {
    uint32_t *next; /* for each unit, the one that was entered after it; owned */
    uint32_t n_units;
    int64_t at; /* the unit that was entered last, or ORDER_NONE */
    unsigned trust;
};

/* Whether the program does not have to enter the unit, because it is always there. */
typedef bool (*order_skip)(uint32_t unit, const void *context);

/* 0 or -ENOMEM. */
int order_init(struct order *order, uint32_t n_units);
void order_done(struct order *order);

/* The unit that comes after `unit`, without those that `skip` names. ORDER_NONE if there is none.
 */
int64_t order_after(const struct order *order, uint32_t unit, order_skip skip, const void *context);

/* The program has entered the unit. */
void order_enter(struct order *order, uint32_t unit, order_skip skip, const void *context);

/* Whether the last units came in the order that was known before. */
bool order_is_trusted(const struct order *order);
