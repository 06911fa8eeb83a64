/* If the client reads too slowly, it gets only the latest plan of each view. */
#include "daemon/methods/view_watch.h"

#include "daemon/methods/view_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct view_watch {
    struct call *call;
    struct client_views *views;
};

struct plan_reply {
    const char *view, *keep;
    uint64_t hold_bytes;
};

static const struct field reply_fields[] = {
    {"view", FIELD_STRING, offsetof(struct plan_reply, view), FIELD_NULLABLE},
    {"keep", FIELD_STRING, offsetof(struct plan_reply, keep), FIELD_NULLABLE},
    {"holdBytes", FIELD_U64, offsetof(struct plan_reply, hold_bytes), FIELD_NULLABLE},
    {0},
};

/* The kept layers as the interface file describes. NULL when out of memory. */
static char *describe(const struct view_plan *plan)
{
    uint32_t n_layers = plan->model->definition->n_layers, n_digits = (n_layers + 3) / 4;
    char *text = malloc((size_t)n_digits + 1);

    for (uint32_t i = 0; text && i < n_digits; i++) {
        unsigned digit = 0;
        for (uint32_t j = 4 * i; j < 4 * i + 4 && j < n_layers; j++)
            digit |= (unsigned)plan->keep[j] << (j - 4 * i);
        text[i] = "0123456789abcdef"[digit];
    }
    if (text)
        text[n_digits] = '\0';
    return text;
}

static void send_plan(struct view_watch *watch, struct client_view *view)
{
    _cleanup_(freep) char *keep = view->plan ? describe(view->plan) : NULL;
    char id[24];

    view->is_plan_due = false;
    if (!keep)
        return;
    snprintf(id, sizeof id, "%" PRIu64, view->id);
    call_continue_fields(watch->call, reply_fields,
                         &(struct plan_reply){id, keep, view->plan->hold_bytes});
}

static void send_due(struct view_watch *watch)
{
    struct client_view *view;

    LIST_FOREACH (view, &watch->views->list, entry) {
        if (!view->is_plan_due)
            continue;
        if (!call_may_continue(watch->call))
            return;
        send_plan(watch, view);
    }
}

void view_watch_changed(struct client_view *view)
{
    view->is_plan_due = true;
    if (view->views && view->views->watch)
        send_due(view->views->watch);
}

static void cancelled(void *context)
{
    struct view_watch *watch = context;
    watch->views->watch = NULL;
    free(watch);
}

static void drained(void *context)
{
    send_due(context);
}

void view_watch_end(struct client_views *views)
{
    struct view_watch *watch = TAKE_PTR(views->watch);
    if (!watch)
        return;
    call_reply(watch->call, NULL);
    free(watch);
}

int view_watch_begin(struct client_views *views, struct call *call)
{
    static const struct call_hooks hooks = {cancelled, drained};
    struct view_watch *watch = malloc(sizeof *watch);
    struct client_view *view;

    if (!watch)
        return -ENOMEM;
    view_watch_end(views);
    *watch = (struct view_watch){call, views};
    views->watch = watch;
    call_set_hooks(call, &hooks, watch);
    call_continue_fields(call, reply_fields, &(struct plan_reply){.hold_bytes = UINT64_MAX});
    LIST_FOREACH (view, &views->list, entry) {
        view->is_plan_due = true;
    }
    send_due(watch);
    return 0;
}
