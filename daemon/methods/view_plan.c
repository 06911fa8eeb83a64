/* A model's share of the arena is proportional to its size, as for runs, and what other clients
 * lease is left out. In its share a model has some places for streaming, each for its largest
 * layer: a reader uses one or two, the next one is ready, another is being read, one stays free for
 * a view that begins, and every further reader has one, so that it never has to wait for the
 * others. Many readers share half of the model's share. The rest is for the layers that stay. These
 * are spread evenly over the model, because then programs compute with them while others are read.
 *
 * Of a model with units that are used by chance, such as experts, the views keep what they expect
 * to use soonest. The plan only says how much that may be. */
#include "daemon/methods/view_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACES = 5,      /* for streaming, with one reader */
    SMALL_PART = 8,  /* a layer of at most this part of the largest one stays if it can */
    GROWTH_PART = 20 /* a share that has grown by less than this part is not worth a new plan */
};
static const struct timeval look_again = {.tv_sec = 1};

static void look(evutil_socket_t fd, short what, void *context);

int view_plans_init(struct view_plans *plans, struct event_base *base, struct scheduler *scheduler,
                    void (*changed)(struct client_view *view))
{
    *plans = (struct view_plans){.scheduler = scheduler, .changed = changed};
    LIST_INIT(&plans->list);
    plans->again = event_new(base, -1, 0, look, plans);
    return plans->again ? 0 : -ENOMEM;
}

void view_plans_done(struct view_plans *plans)
{
    if (plans->again)
        event_free(plans->again);
    plans->again = NULL;
}

static uint64_t pages_of(const struct view_plans *plans, const struct layer *layer)
{
    return scheduler_footprint(plans->scheduler, layer, NULL);
}

static uint64_t capacity(const struct view_plans *plans)
{
    return arena_capacity_pages(scheduler_arena(plans->scheduler));
}

static uint64_t streaming_pages(const struct view_plan *plan, uint64_t share_pages)
{
    uint64_t least_pages = plan->largest_pages * PLACES;
    uint64_t pages = least_pages + plan->largest_pages * (plan->n_views - 1);

    return pages <= share_pages / 2        ? pages
           : least_pages > share_pages / 2 ? least_pages
                                           : share_pages / 2;
}

/* Keeps the layers of at most `small_pages` for which there is room, or of the others those whose
 * turn it is. Returns the room that is left. */
static uint64_t keep_some(struct view_plan *plan, uint64_t small_pages, bool small,
                          uint64_t left_pages)
{
    double turn = 0, part;
    uint64_t pages = 0;

    for (uint32_t i = 0; i < plan->model->definition->n_layers; i++) {
        uint64_t n = pages_of(plan->plans, &plan->model->layers[i]);
        pages += (n <= small_pages) == small ? n : 0;
    }
    part = pages > 0 ? (double)left_pages / (double)pages : 0;
    for (uint32_t i = 0; i < plan->model->definition->n_layers; i++) {
        uint64_t n = pages_of(plan->plans, &plan->model->layers[i]);
        if ((n <= small_pages) != small)
            continue;
        turn += (double)n * part;
        plan->keep[i] = n <= left_pages && turn >= (double)n / 2;
        if (plan->keep[i]) {
            turn -= (double)n;
            left_pages -= n;
        }
    }
    return left_pages;
}

static void choose(struct view_plan *plan, uint64_t share_pages)
{
    uint64_t room_pages, small_pages = plan->largest_pages / SMALL_PART;

    plan->share_pages = share_pages;
    plan->hold_bytes = UINT64_MAX;
    if (share_pages >= plan->total_pages) {
        memset(plan->keep, true, plan->model->definition->n_layers * sizeof *plan->keep);
        plan->kept_pages = plan->total_pages;
        return;
    }
    room_pages = streaming_pages(plan, share_pages);
    room_pages = share_pages > room_pages ? share_pages - room_pages : 0;
    if (plan->is_by_chance) {
        memset(plan->keep, true, plan->model->definition->n_layers * sizeof *plan->keep);
        plan->kept_pages = room_pages;
        plan->hold_bytes = room_pages * arena_page_bytes(scheduler_arena(plan->plans->scheduler));
        return;
    }
    uint64_t left_pages = keep_some(plan, small_pages, true, room_pages);
    left_pages = keep_some(plan, small_pages, false, left_pages);
    plan->kept_pages = room_pages - left_pages;
}

/* Whether the plan is still right for this share. */
static bool suits(const struct view_plan *plan, uint64_t share_pages)
{
    if (plan->kept_pages == plan->total_pages)
        return share_pages >= plan->total_pages;
    if (share_pages >= plan->total_pages || plan->share_pages == 0)
        return false;
    return plan->kept_pages + streaming_pages(plan, share_pages) <= share_pages &&
           share_pages - plan->share_pages <= plan->share_pages / GROWTH_PART;
}

static uint64_t leased_by_others(const struct view_plans *plans)
{
    uint64_t pages = scheduler_pinned_pages(plans->scheduler);
    const struct view_plan *plan;

    LIST_FOREACH (plan, &plans->list, entry)
        pages -= plan->leased_pages < pages ? plan->leased_pages : pages;
    return pages;
}

/* The pages of all models that views or runs go through. */
static double pages_of_users(const struct view_plans *plans)
{
    double pages = 0, page_bytes = (double)arena_page_bytes(scheduler_arena(plans->scheduler));
    const struct view_plan *plan;
    const struct model *model = scheduler_first_model(plans->scheduler);

    LIST_FOREACH (plan, &plans->list, entry)
        pages += (double)plan->total_pages;
    for (; model; model = model->next) {
        bool is_counted = false;
        LIST_FOREACH (plan, &plans->list, entry)
            is_counted = is_counted || plan->model == model;
        if (model->n_runs > 0 && !is_counted)
            pages += (double)model->definition->bytes / page_bytes;
    }
    return pages;
}

static void make_plans(struct view_plans *plans)
{
    struct view_plan *plan;
    struct client_view *view;

    plans->other_pages = leased_by_others(plans);
    uint64_t taken_pages = plans->other_pages + plans->claimed_pages;
    uint64_t pages = capacity(plans) > taken_pages ? capacity(plans) - taken_pages : 0;
    double users_pages = pages_of_users(plans);
    LIST_FOREACH (plan, &plans->list, entry) {
        uint64_t share_pages =
            (double)pages >= users_pages
                ? pages
                : (uint64_t)((double)pages * (double)plan->total_pages / users_pages);
        if (suits(plan, share_pages))
            continue;
        choose(plan, share_pages);
        LIST_FOREACH (view, &plan->views, plan_entry) {
            plans->changed(view);
        }
    }
    if (plans->claimed_pages > 0)
        event_add(plans->again, &look_again);
}

static void look(evutil_socket_t fd, short what, void *context)
{
    struct view_plans *plans = context;
    (void)fd;
    (void)what;
    plans->claimed_pages = 0;
    make_plans(plans);
}

static void plan_free(struct view_plan *plan)
{
    free(plan->keep);
    free(plan->n_leases);
    free(plan);
}

static struct view_plan *plan_new(struct view_plans *plans, struct model *model)
{
    struct view_plan *plan = calloc(1, sizeof *plan);
    uint32_t n_layers = model->definition->n_layers;

    if (!plan)
        return NULL;
    plan->keep = calloc(n_layers, sizeof *plan->keep);
    plan->n_leases = calloc(n_layers, sizeof *plan->n_leases);
    if (!plan->keep || !plan->n_leases) {
        plan_free(plan);
        return NULL;
    }
    plan->plans = plans;
    plan->model = model;
    LIST_INIT(&plan->views);
    for (uint32_t i = 0; i < n_layers; i++) {
        uint64_t n = pages_of(plans, &model->layers[i]);
        plan->is_by_chance |= layer_is_unit(model->definition->layers[i].name);
        plan->total_pages += n;
        if (plan->largest_pages < n)
            plan->largest_pages = n;
    }
    LIST_INSERT_HEAD(&plans->list, plan, entry);
    return plan;
}

static struct view_plan *find_plan(const struct view_plans *plans, const struct model *model)
{
    struct view_plan *plan = LIST_FIRST(&plans->list);

    while (plan && plan->model != model)
        plan = LIST_NEXT(plan, entry);
    return plan;
}

int view_plan_join(struct view_plans *plans, struct model *model, struct client_view *view)
{
    struct view_plan *plan = find_plan(plans, model) ?: plan_new(plans, model);

    if (!plan)
        return -ENOMEM;
    LIST_INSERT_HEAD(&plan->views, view, plan_entry);
    plan->n_views++;
    plan->n_idle++;
    view->plan = plan;
    view->n_streamed = 0;
    make_plans(plans);
    return 0;
}

void view_plan_leave(struct client_view *view)
{
    struct view_plan *plan = view->plan;

    if (!plan)
        return;
    struct view_plans *plans = plan->plans;
    view->plan = NULL;
    LIST_REMOVE(view, plan_entry);
    plan->n_idle -= view->n_streamed == 0;
    if (--plan->n_views == 0) {
        LIST_REMOVE(plan, entry);
        plan_free(plan);
    }
    make_plans(plans);
}

bool view_plan_leased(struct client_view *view, const struct layer *layer)
{
    struct view_plan *plan = view->plan;

    if (!plan)
        return false;
    if (plan->n_leases[layer->index]++ == 0)
        plan->leased_pages += pages_of(plan->plans, layer);
    if (plan->keep[layer->index])
        return false;
    plan->n_idle -= view->n_streamed++ == 0;
    return true;
}

void view_plan_released(struct client_view *view, const struct layer *layer, bool is_streamed)
{
    struct view_plan *plan = view->plan;

    if (!plan)
        return;
    if (--plan->n_leases[layer->index] == 0)
        plan->leased_pages -= pages_of(plan->plans, layer);
    if (is_streamed)
        plan->n_idle += --view->n_streamed == 0;
}

bool view_plan_may_read_ahead(const struct client_view *view, const struct layer *layer)
{
    const struct view_plan *plan = view->plan;
    uint64_t needed_pages = 0;

    if (!plan || plan->keep[layer->index] || layer->n_pins > 0)
        return true;
    LIST_FOREACH (plan, &view->plan->plans->list, entry) {
        needed_pages += plan->largest_pages * (plan->n_idle + 1); /* one may begin */
    }
    needed_pages += pages_of(view->plan->plans, layer);
    return needed_pages <= scheduler_placeable_pages(view->plan->plans->scheduler);
}

static void forget_model(struct view_plans *plans, const struct model *model)
{
    struct view_plan *plan = find_plan(plans, model);

    if (!plan)
        return;
    LIST_REMOVE(plan, entry);
    while (!LIST_EMPTY(&plan->views)) {
        LIST_FIRST(&plan->views)->plan = NULL;
        LIST_REMOVE(LIST_FIRST(&plan->views), plan_entry);
    }
    plan_free(plan);
}

void view_plans_on_scheduler(const struct scheduler_event *event, void *context)
{
    struct view_plans *plans = context;

    if (LIST_EMPTY(&plans->list))
        return;
    if (event->type == EVENT_MODEL_REMOVED)
        forget_model(plans, event->model);
    if (event->type == EVENT_LAYER_UNPINNED && plans->other_pages > 0 &&
        !event_pending(plans->again, EV_TIMEOUT, NULL))
        event_add(plans->again, &look_again);
}

bool view_plans_make_room(struct view_plans *plans, uint64_t n_pages)
{
    const struct view_plan *plan;
    uint64_t leased_pages = 0;
    uint64_t needed_pages = leased_by_others(plans);

    LIST_FOREACH (plan, &plans->list, entry) {
        leased_pages += plan->leased_pages;
        needed_pages += plan->largest_pages * plan->n_views;
    }
    if (leased_pages == 0 || n_pages > capacity(plans) || needed_pages > capacity(plans) - n_pages)
        return false;
    if (plans->claimed_pages < n_pages)
        plans->claimed_pages = n_pages;
    make_plans(plans);
    return true;
}
