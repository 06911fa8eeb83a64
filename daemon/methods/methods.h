/* The methods of io.edgemind.manager. Each decodes a call's parameters, asks the scheduler, and
 * replies.
 *
 * Each group of methods has a file, and all share this header. The composition root fills a struct
 * manager, and serves `manager_methods` with it as their context. */
#pragma once

#include "daemon/control/call.h"
#include "daemon/control/server.h"
#include "daemon/history/history.h"
#include "daemon/methods/events.h"
#include "daemon/methods/lease.h"
#include "daemon/methods/run_choice.h"
#include "daemon/methods/turns.h"
#include "daemon/methods/waits.h"
#include "daemon/monitor/monitor.h"
#include "daemon/restart/handover.h"
#include "daemon/scheduler/scheduler.h"
#include "daemon/weights/load_request.h"
#include "daemon/weights/model_reader.h"

/* Borrowed from the composition root, except the leases, the turns and the choices. */
struct manager {
    struct event_base *base;
    struct scheduler *scheduler;
    struct backing *backing; /* NULL: simulated */
    struct handover *handover;
    struct workers *readers;      /* of models */
    struct workers *planners;     /* make forecasts and choose the plans of runs */
    struct parse_gate parse_gate; /* of models' texts */
    struct turns turns;           /* of Plan calls */
    struct run_choices choices;
    struct load_requests *loads;
    struct waits *waits;
    struct monitor *monitor;
    struct events *events;
    struct history *history;
    struct server *server;
    struct leases leases;
    enum on_full on_full;
    const char *model_dir; /* NULL: calls may give no path */
    uint64_t overhead_limit_bytes;
    uint64_t started_usec; /* monotonic */
    pid_t pid;
};

/* Ends with a NULL name; the context of every method is a struct manager. */
extern const struct method manager_methods[];

enum { REPLY_ELEMENTS_MAX = 1000 }; /* the most elements of an array in a reply */

/* The handlers, in the interface file's order. */
void method_load_model(struct call *call, void *context);
void method_load_layer(struct call *call, void *context);
void method_unload_layer(struct call *call, void *context);
void method_unload_model(struct call *call, void *context);
void method_reset(struct call *call, void *context);
void method_plan(struct call *call, void *context);
void method_acquire(struct call *call, void *context);
void method_release(struct call *call, void *context);
void method_begin_run(struct call *call, void *context);
void method_next(struct call *call, void *context);
void method_end_run(struct call *call, void *context);
void method_find_model(struct call *call, void *context);
void method_begin_view(struct call *call, void *context);
void method_end_view(struct call *call, void *context);
void method_views(struct call *call, void *context);
void method_list(struct call *call, void *context);
void method_stats(struct call *call, void *context);
void method_why(struct call *call, void *context);
void method_watch(struct call *call, void *context);
void method_set_policy(struct call *call, void *context);

/* Functions that handlers share. If one returns false or NULL, it has answered the call with an
 * error. */

struct requester manager_requester(const struct call *call);

/* Between these two the scheduler is called on behalf of the call's client. */
void manager_begin_request(struct manager *manager, const struct call *call);
void manager_end_request(struct manager *manager);

struct model *manager_find_model(struct manager *manager, struct call *call, const char *name);
struct layer *manager_find_layer(struct call *call, struct model *model, const char *name);

/* Without a word they give the daemon's own setting. */
bool manager_on_full(struct manager *manager, struct call *call, const char *word,
                     enum on_full *ret);
bool manager_policy(struct manager *manager, struct call *call, const char *word,
                    const struct policy **ret);

/* The parameters in which a call may give a model: as text, by descriptor or by path. */
struct source_parameters {
    const char *text;
    uint64_t fd_index; /* UINT64_MAX: absent */
    const char *path;
    json_t *weights;
    const char *name;
};
#define SOURCE_FIELDS(type, member)                                               \
    {"definition", FIELD_STRING, offsetof(type, member.text)},                    \
        {"definitionFileDescriptor", FIELD_U64, offsetof(type, member.fd_index)}, \
        {"path", FIELD_STRING, offsetof(type, member.path)},                      \
        {"weights", FIELD_JSON, offsetof(type, member.weights)},                  \
    {                                                                             \
        "name", FIELD_STRING, offsetof(type, member.name)                         \
    }
bool manager_model_source(struct manager *manager, struct call *call,
                          const struct source_parameters *parameters, struct model_source *ret);

/* Error replies with the interface file's parameters. */
void reply_read_failure(struct call *call, int error, const struct model_read_result *result);
void reply_model_refusal(struct call *call, const struct model_refusal *refusal);
void reply_load_end(struct manager *manager, struct call *call, const struct load_end *end);
void reply_not_found(struct call *call, const char *kind, const char *name);
void reply_limit(struct call *call, const char *limit, uint64_t maximum);
/* Busy: lists every layer that is loading or leased. */
void reply_busy(struct manager *manager, struct call *call);

/* The interface's Tensor. */
struct tensor_row {
    const char *name, *dtype;
    struct field_array shape;
    uint64_t offset_bytes, bytes;
};
extern const struct field tensor_fields[];
/* Describes a layer's tensors [first, first + n). The caller frees the rows, which refer to the
 * definition's strings. Returns 0 or -ENOMEM. */
int describe_tensors(const struct layer *layer, uint64_t first, uint64_t n,
                     struct tensor_row **ret);
