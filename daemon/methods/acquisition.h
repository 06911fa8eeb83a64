/* What Acquire and Next have in common: they make a layer resident, wait for it if need be, lease
 * it and describe it to the client. */
#pragma once

#include "daemon/methods/methods.h"

/* The connection's leases and runs; makes them if there are none yet. NULL when out of memory. */
struct holder *acquisition_find_holder(struct manager *manager, struct call *call);

/* What Acquire and Next may ask for. */
struct acquisition_options {
    uint64_t wait_usec;
    uint64_t fill_id; /* the client held the lease before a restart, on the bytes of this
                       * load; 0: it did not */
};
#define ACQUISITION_OPTION_FIELDS(type, member)                \
    {"waitUsec", FIELD_U64, offsetof(type, member.wait_usec)}, \
    {                                                          \
        "fill", FIELD_U64, offsetof(type, member.fill_id)      \
    }

/* Replies with a lease of `layer`, or with an error. If `run` is given, `layer` is its next layer
 * and the run owns the lease. */
void acquisition_begin(struct manager *manager, struct call *call, struct holder *holder,
                       struct layer *layer, const struct acquisition_options *options,
                       struct client_run *run);

/* False after an error reply: the wait is too long. */
bool acquisition_check_options(struct call *call, const struct acquisition_options *options);

/* A lease's or a run's identifier as a number: 0 if it cannot be one. */
uint64_t acquisition_parse_id(const char *text);
