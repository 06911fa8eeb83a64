/* What all methods work on, and on whose behalf they ask the scheduler. The composition root fills
 * a struct manager, and serves `manager_methods` with it as their context. */
#pragma once

#include "daemon/control/call.h"
#include "daemon/control/server.h"
#include "daemon/history/history.h"
#include "daemon/methods/events.h"
#include "daemon/methods/lease.h"
#include "daemon/methods/orphans.h"
#include "daemon/methods/run_choice.h"
#include "daemon/methods/turns.h"
#include "daemon/methods/view_plan.h"
#include "daemon/methods/waits.h"
#include "daemon/metrics/exposition.h"
#include "daemon/monitor/monitor.h"
#include "daemon/restart/handover.h"
#include "daemon/scheduler/scheduler.h"
#include "daemon/weights/load_request.h"
#include "daemon/weights/model_reader.h"

/* Borrowed from the composition root, except what manager_begin makes. */
struct manager {
    struct event_base *base;
    struct scheduler *scheduler;
    struct backing *backing; /* NULL: simulated */
    struct handover *handover;
    struct workers *readers;        /* of models */
    struct workers *planners;       /* make forecasts and choose the plans of runs */
    struct memory_gate memory_gate; /* of reading models, and of plans */
    struct model_preparation preparation;
    struct turns turns; /* of Plan calls */
    struct run_choices choices;
    struct load_requests *loads;
    struct waits *waits;
    struct monitor *monitor;
    const struct pressure *pressure;
    const struct holes *holes; /* NULL: simulated */
    struct events *events;
    struct history *history;
    struct metrics *metrics;
    struct server *server;
    struct leases leases;
    struct orphans orphans;
    struct view_plans view_plans;
    enum on_full on_full;
    const char *on_pressure; /* static */
    const char *model_dir;   /* NULL: calls may give no path */
    uint64_t overhead_limit_bytes;
    uint64_t started_usec; /* monotonic */
    pid_t pid;
};

enum { REPLY_ELEMENTS_MAX = 1000 }; /* the most elements of an array in a reply */

/* Makes the leases, the turns, the gate, the choices and the plans of views. Returns 0 or -ENOMEM.
 */
int manager_begin(struct manager *manager);
void manager_end(struct manager *manager);

struct requester manager_requester(const struct call *call);

/* Between these two the scheduler is called on behalf of the call's client. */
void manager_begin_request(struct manager *manager, const struct call *call);
void manager_end_request(struct manager *manager);

/* What the metrics tell beside scheduler and metrics. Borrows from the manager. */
void manager_facts(const struct manager *manager, struct exposition_facts *ret);
