/* What Acquire and Next have in common: a layer made resident, waited for if need be, held, and
 * described to its client. */
#pragma once

#include "daemon/methods/methods.h"

/* The connection's leases and runs, made when there is none. NULL when out of memory. */
struct holder *hold_find_holder(struct manager *manager, struct call *call);

/* What Acquire and Next may ask for. */
struct hold_options {
    uint64_t wait_usec;
    uint64_t fill_id; /* the lease was held before a restart, on what that load brought; 0: no */
};
#define HOLD_OPTION_FIELDS(type, member)                       \
    {"waitUsec", FIELD_U64, offsetof(type, member.wait_usec)}, \
    {                                                          \
        "fill", FIELD_U64, offsetof(type, member.fill_id)      \
    }

/* Answers the call with a lease of `layer`, or with an error. With a run (else NULL) `layer` is its
 * next one, and the lease is the run's. */
void hold_layer(struct manager *manager, struct call *call, struct holder *holder,
                struct layer *layer, const struct hold_options *options, struct client_run *run);

/* Whether the wait is not too long; or the call has been answered with an error. */
bool hold_check_options(struct call *call, const struct hold_options *options);

/* A lease's or a run's identifier as a number: 0 if it cannot be one. */
uint64_t hold_parse_id(const char *text);
