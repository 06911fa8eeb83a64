/* Tells clients the plans of their views. A client watches from another connection than that of its
 * views, because a connection answers one call at a time. Loop thread only. */
#pragma once

#include "daemon/control/call.h"
#include "daemon/methods/client_view.h"

/* Answers WatchViews for these views. An earlier call for them gets its last reply. Returns 0 or
 * -ENOMEM. */
int view_watch_begin(struct client_views *views, struct call *call);

/* The view has another plan; see view_plan.h. */
void view_watch_changed(struct client_view *view);

/* The connection of the views ends. */
void view_watch_end(struct client_views *views);
