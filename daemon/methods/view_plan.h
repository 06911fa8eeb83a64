/* Which layers of a model its views keep: the same ones for all views, so that they share them. The
 * views stream the other layers through the rest of the model's share of the arena. Loop thread
 * only. */
#pragma once

#include "common/residency/layer_uses.h"
#include "daemon/methods/client_view.h"
#include "daemon/scheduler/scheduler.h"

#include <event2/event.h>

/* Of one model, while it has views. */
struct view_plan {
    LIST_ENTRY(view_plan) entry;
    struct view_plans *plans;
    struct model *model;
    struct client_view_list views;
    uint32_t n_views, n_idle; /* n_idle: those that stream nothing now */
    bool *keep;               /* for each layer */
    uint32_t *n_leases;       /* for each layer: those of views */
    uint64_t leased_pages, total_pages, largest_pages;
    uint64_t kept_pages, share_pages; /* the share that `keep` was chosen for */
    bool is_by_chance;                /* the views choose which layers they keep, of up to ... */
    uint64_t hold_bytes;              /* ... so many bytes; UINT64_MAX: all */
};

struct view_plans {
    LIST_HEAD(view_plan_list, view_plan) list;
    struct scheduler *scheduler;               /* borrowed */
    void (*changed)(struct client_view *view); /* the view has another plan */
    struct event *again;                       /* looks whether there is more room now */
    uint64_t claimed_pages;                    /* that other clients wait for */
    uint64_t other_pages;                      /* leased by others when the plans were made */
};

/* Returns 0 or -ENOMEM. */
int view_plans_init(struct view_plans *plans, struct event_base *base, struct scheduler *scheduler,
                    void (*changed)(struct client_view *view));
void view_plans_done(struct view_plans *plans); /* no view may have a plan */

/* A scheduler_observer; `context` is the struct view_plans. */
void view_plans_on_scheduler(const struct scheduler_event *event, void *context);

/* The view has begun or ends. Returns 0 or -ENOMEM; then the view has no plan. */
int view_plan_join(struct view_plans *plans, struct model *model, struct client_view *view);
void view_plan_leave(struct client_view *view);

/* A layer was leased for the view, or such a lease has ended. view_plan_leased returns whether the
 * view streams the layer. */
bool view_plan_leased(struct client_view *view, const struct layer *layer);
void view_plan_released(struct client_view *view, const struct layer *layer, bool is_streamed);

/* Whether the view may lease the layer before it needs it. A place stays free for each view that
 * streams nothing now, and one more for a view that begins, which may find the others stopped. */
bool view_plan_may_read_ahead(const struct client_view *view, const struct layer *layer);

enum { VIEW_RECALL_USEC = 250 * 1000 }; /* a client that has not answered by then is stopped */

/* Asks the views for room for another client's layers. Returns false if that cannot help. */
bool view_plans_make_room(struct view_plans *plans, uint64_t n_pages);
