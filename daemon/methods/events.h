/* Reports the daemon's events to the log and to every watcher (Watch call). */
#pragma once

#include "common/log.h"
#include "daemon/control/call.h"
#include "daemon/methods/client_view.h"
#include "daemon/monitor/monitor.h"
#include "daemon/monitor/pressure.h"
#include "daemon/scheduler/scheduler.h"

struct event_base;
struct events;

/* NULL when out of memory. See watchers_new. */
struct events *events_new(struct event_base *base);
struct events *events_free(struct events *events); /* only after all Watch calls have ended */

/* A scheduler_observer; `context` is the struct events. */
void events_on_scheduler(const struct scheduler_event *event, void *context);

/* Reports when the samples change from aligned to misaligned or back, and when swapping begins. */
void events_on_sample(struct events *events, const struct sample *sample);

/* Reports that memory pressure has begun or ended. */
void events_on_pressure(struct events *events, const struct pressure *pressure);

/* Reports what was trimmed because memory is short: layers that were evicted, and bytes that were
 * given back to the system, of all `missing_bytes` that the arena lacks now. */
struct trim_report {
    uint64_t n_layers, bytes, missing_bytes;
};
void events_on_trimmed(struct events *events, const struct pressure *pressure,
                       const struct trim_report *report);
/* Reports that the arena has all its memory again, or that it cannot have it yet. */
void events_on_taken_back(struct events *events, uint64_t bytes);
void events_on_take_back_delayed(struct events *events, uint64_t missing_bytes, int error);

/* Reports that a setting ("policy", "on-full") has changed. It is no event if `from` equals
 * `to`. */
void events_on_setting(struct events *events, const char *setting, const char *from, const char *to,
                       const struct requester *requester);

/* Reports that a client has begun or ended a view (`name`: "view-begun", "view-ended"). `method` is
 * what it called; NULL: its connection has ended. Without `events` it reports nothing. */
void events_on_view(struct events *events, const char *name, const struct client_view *view,
                    const struct peer *peer, const char *method);

/* Reports that a model's weight file has lost its name. The daemon continues to read the file that
 * it has open. */
void events_on_deleted_file(struct events *events, const char *model, const char *path);

/* Reports that a program that reads a view gets SIGBUS for a layer, because the file at `path` has
 * changed (-ESTALE) or cannot be read (another negative errno). */
void events_on_unreadable(struct events *events, const struct layer *layer, const char *path,
                          int error, const char *program, const struct requester *requester);

/* Reports that the configuration was loaded again. */
void events_on_reload(struct events *events);

/* Takes a Watch call, and keeps it until its peer goes away or is too slow. */
void events_watch(struct events *events, struct call *call);
