/* Writes which units a program uses in each step, as a route trace for `emctl plan --trace`. A
 * layer of the trace is a layer of the weights with such units, in the model's order; its dense
 * bytes are the other units up to the next one. A step ends when a layer is used again after
 * another one. */
#pragma once

#include "client/view/unit_table.h"
#include "common/cleanup.h"

struct route_record;

/* For the units of a table, which is only read here. NULL when out of memory. The file is made at
 * the first use. */
struct route_record *route_record_new(const char *path, const struct unit_table *table);
void route_record_free(struct route_record *record);
DEFINE_CLEANUP(struct route_record *, route_record_free);

/* A thread has come to the unit, for the first time in a pass through its layer. What cannot be
 * written is lost. */
void route_record_use(struct route_record *record, uint32_t unit);
