/* What happens in the daemon, told to the log and to every watcher (Watch calls). */
#pragma once

#include "common/log.h"
#include "daemon/control/call.h"
#include "daemon/monitor/monitor.h"
#include "daemon/scheduler/scheduler.h"

struct events;

/* NULL when out of memory. */
struct events *events_new(void);
struct events *events_free(struct events *events); /* after the calls that watch have ended */

/* A scheduler_observer; `context` is the struct events. */
void events_on_scheduler(const struct scheduler_event *event, void *context);

/* Tells when the verdict of the samples changes: aligned, swapped. */
void events_on_sample(struct events *events, const struct sample *sample);

/* A setting ("policy", "on-full") has another value now. Not an event if it is the same. */
void events_on_setting(struct events *events, const char *setting, const char *from,
                       const char *to);

/* A model's weight file has lost its name; the daemon goes on to read the open one. */
void events_on_deleted_file(struct events *events, const char *model, const char *path);

/* The configuration was loaded again. */
void events_on_reload(struct events *events);

/* Takes a Watch call, until its peer goes away or is too slow. */
void events_watch(struct events *events, struct call *call);
