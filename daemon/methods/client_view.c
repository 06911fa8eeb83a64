#include "daemon/methods/client_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void client_views_init(struct client_views *views, struct view_totals *totals)
{
    *views = (struct client_views){.totals = totals};
    LIST_INIT(&views->list);
}

static void view_free(struct client_view *view)
{
    free(view->model);
    free(view->program);
    free(view);
}

void client_views_done(struct client_views *views)
{
    while (!LIST_EMPTY(&views->list))
        client_view_end(views, LIST_FIRST(&views->list));
}

int client_view_begin(struct client_views *views, const struct client_view *view)
{
    if (views->n == VIEWS_PER_CONNECTION_MAX)
        return -EMFILE;
    struct client_view *copy = malloc(sizeof *copy);
    if (!copy)
        return -ENOMEM;
    *copy = *view;
    copy->model = strdup(view->model);
    copy->program = strdup(view->program);
    if (!copy->model || !copy->program) {
        view_free(copy);
        return -ENOMEM;
    }
    copy->views = views;
    LIST_INSERT_HEAD(&views->list, copy, entry);
    views->n++;
    views->totals->n++;
    views->totals->bytes += copy->bytes;
    views->totals->outside_bytes += copy->outside_bytes;
    return 0;
}

void client_view_end(struct client_views *views, struct client_view *view)
{
    LIST_REMOVE(view, entry);
    views->n--;
    views->totals->n--;
    views->totals->bytes -= view->bytes;
    views->totals->outside_bytes -= view->outside_bytes;
    views->totals->held_bytes -= view->held_bytes;
    view_free(view);
}

struct client_view *client_view_find(const struct client_views *views, uint64_t id)
{
    struct client_view *view;
    LIST_FOREACH (view, &views->list, entry)
        if (view->id == id)
            return view;
    return NULL;
}

void client_view_set_outside(struct client_view *view, uint64_t outside_bytes)
{
    view->views->totals->outside_bytes += outside_bytes - view->outside_bytes;
    view->outside_bytes = outside_bytes;
}

void client_view_hold(struct client_view *view, int64_t bytes)
{
    view->held_bytes += (uint64_t)bytes;
    view->views->totals->held_bytes += (uint64_t)bytes;
}

void client_view_count(struct client_view *view, uint64_t layer_bytes, bool hit)
{
    uint64_t read_bytes = hit ? 0 : layer_bytes;

    view->n_faults++;
    view->n_hits += hit;
    view->read_bytes += read_bytes;
    view->views->totals->n_faults++;
    view->views->totals->n_hits += hit;
    view->views->totals->read_bytes += read_bytes;
}
