/* The methods of io.edgemind.manager. Each decodes a call's parameters, asks the scheduler, and
 * replies. Each group of methods has a file, and all share this header. */
#pragma once

#include "daemon/control/call.h"
#include "daemon/control/server.h"

/* Ends with a NULL name; the context of every method is a struct manager. */
extern const struct method manager_methods[];

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
void method_update_view(struct call *call, void *context);
void method_end_view(struct call *call, void *context);
void method_watch_views(struct call *call, void *context);
void method_views(struct call *call, void *context);
void method_list(struct call *call, void *context);
void method_usage(struct call *call, void *context);
void method_stats(struct call *call, void *context);
void method_history(struct call *call, void *context);
void method_why(struct call *call, void *context);
void method_watch(struct call *call, void *context);
void method_set_policy(struct call *call, void *context);
