/* The part that Acquire and Next share: it makes a layer resident, waits for it if need be, leases
 * it and describes it to the client. */
#pragma once

#include "daemon/methods/manager.h"

/* Returns the holder of the connection's leases and runs, and makes it at the first call. NULL when
 * out of memory. */
struct holder *acquisition_find_holder(struct manager *manager, struct call *call);

/* Reports that the views of a connection end with it. */
void acquisition_report_views(const struct holder *holder);

/* The options of Acquire and Next. */
struct acquisition_options {
    uint64_t wait_usec;
    uint64_t fill_id;   /* the client held the lease before a restart, on the bytes of the load with
                           this number; 0: it did not */
    uint64_t view_id;   /* only of Acquire: the view that the layer is for; 0: none */
    struct layer *next; /* what this view will acquire after that; or NULL */
};
#define ACQUISITION_OPTION_FIELDS(type, member)                \
    {"waitUsec", FIELD_U64, offsetof(type, member.wait_usec)}, \
    {                                                          \
        "fill", FIELD_U64, offsetof(type, member.fill_id)      \
    }

/* Replies with a lease of a layer or of units, or with an error; then the caller holds none of
 * them. Copies the set, but not its name. If `run` is given, the set is its next layer, and the run
 * owns the lease. */
void acquisition_begin(struct manager *manager, struct call *call, struct holder *holder,
                       const struct layer_set *set, const struct acquisition_options *options,
                       struct client_run *run);

/* Returns false if the wait is too long; it has then answered the call with an error. */
bool acquisition_check_options(struct call *call, const struct acquisition_options *options);

/* Returns a lease's or a run's identifier as a number; 0 if the text is none. */
uint64_t acquisition_parse_id(const char *text);
