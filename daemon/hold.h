/* What Acquire and Next have in common: a layer made resident, waited for if need be, held, and
 * described to its client. */
#pragma once

#include "daemon/methods.h"

/* The connection's leases and runs, made when there is none. NULL when out of memory. */
struct holder *hold_find_holder(struct manager *manager, struct call *call);

/* Answers the call with a lease of `layer`, or with an error. With a run (else NULL) `layer` is its
 * next one, and the lease is the run's. */
void hold_layer(struct manager *manager, struct call *call, struct holder *holder,
                struct layer *layer, uint64_t wait_usec, struct client_run *run);

/* From 0 to WAIT_USEC_MAX; or the call has been answered with an error. */
bool hold_check_wait(struct call *call, uint64_t wait_usec);

/* A lease's or a run's identifier as a number: 0 if it cannot be one. */
uint64_t hold_parse_id(const char *text);
