/* The connection on which the daemon tells which units the views keep. It is another one than that
 * of the leases, because the daemon may speak at any time. For the server's thread only. */
#pragma once

#include "client/library/varlink.h"
#include "client/view/view.h"

struct plan_link {
    struct varlink *varlink; /* NULL: not connected */
};

/* Connects, and asks for the plans of this view and the other ones of its connection. Errors as of
 * daemon_link_connect, or -EPIPE. */
int plan_link_open(struct plan_link *link, const struct view *view);
void plan_link_close(struct plan_link *link);

/* Takes the next plan that has come. Returns 0 with the reply to WatchViews; -EAGAIN if none has
 * come; -EPIPE if there will be none, and the connection is closed. */
int plan_link_receive(struct plan_link *link, json_t **ret);

/* Applies the plan to the view's units. */
void plan_apply(const json_t *plan, struct view *view);
