/* One event on its way to the log and to the watchers. Only the files events*.c include it. */
#pragma once

#include "common/log.h"
#include "daemon/methods/requester_row.h"
#include "daemon/scheduler/requester.h"

#include <stdbool.h>

struct watchers;

struct events {
    struct watchers *watchers;
    bool misaligned, swapped; /* as last reported */
};

/* One event that is being reported. */
struct event_record {
    const char *name;
    const char *model, *layer;
    uint64_t bytes; /* UINT64_MAX: none */
    const char *from, *to;
    const char *policy;
    const char *reason;         /* of what the system made the daemon do, as "stalls" */
    struct requester requester; /* its method is NULL: none */
    /* Filled in by event_emit. */
    uint64_t at_usec;
    const char *message;
    struct requester_row requester_row;
};

/* Fills in time, requester and message, and reports the event. A longer message is truncated. */
void event_emit(struct events *events, enum log_level level, struct event_record record,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
