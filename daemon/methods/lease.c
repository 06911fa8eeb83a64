/* A lease ends when its client releases it, when its run moves on, or when its connection ends, and
 * never otherwise. */
#include "daemon/methods/lease.h"

#include "common/cleanup.h"
#include "daemon/methods/view_plan.h"
#include "daemon/methods/view_watch.h"

#include <errno.h>

void leases_init(struct leases *leases, struct scheduler *scheduler)
{
    *leases = (struct leases){.scheduler = scheduler};
    LIST_INIT(&leases->holders);
}

struct holder *holder_new(struct leases *leases, const struct peer *peer)
{
    struct holder *holder = calloc(1, sizeof *holder);
    if (!holder)
        return NULL;
    holder->leases = leases;
    holder->peer = *peer;
    TAILQ_INIT(&holder->list);
    LIST_INIT(&holder->runs);
    client_views_init(&holder->views, &leases->views);
    LIST_INSERT_HEAD(&leases->holders, holder, entry);
    return holder;
}

static void give_back(struct holder *holder, struct lease *lease)
{
    scheduler_unpin_lease(holder->leases->scheduler, lease->layer, lease->is_mapped);
    if (lease->view) {
        client_view_hold(lease->view, -(int64_t)layer_definition(lease->layer)->bytes);
        view_plan_released(lease->view, lease->layer, lease->is_streamed);
    }
    TAILQ_REMOVE(&holder->list, lease, entry);
    holder->n_leases--;
    free(lease);
}

void holder_end_connection(struct holder *holder)
{
    struct client_run *run;
    LIST_FOREACH (run, &holder->runs, entry)
        if (run->lease)
            TAKE_PTR(run->lease)->is_of_run = false;
    while (!LIST_EMPTY(&holder->runs))
        client_run_end(LIST_FIRST(&holder->runs));
    view_watch_end(&holder->views);
    while (!LIST_EMPTY(&holder->views.list))
        holder_end_view(holder, LIST_FIRST(&holder->views.list));
}

bool holder_release_portion(struct holder *holder)
{
    for (unsigned n = LEASES_PORTION; n > 0 && !TAILQ_EMPTY(&holder->list); n--)
        give_back(holder, TAILQ_FIRST(&holder->list));
    return !TAILQ_EMPTY(&holder->list);
}

struct holder *holder_free(struct holder *holder)
{
    if (!holder)
        return NULL;
    holder_end_connection(holder);
    while (!TAILQ_EMPTY(&holder->list))
        give_back(holder, TAILQ_FIRST(&holder->list));
    LIST_REMOVE(holder, entry);
    free(holder);
    return NULL;
}

static uint64_t count_leases_of(const struct leases *leases, uid_t uid)
{
    const struct holder *holder;
    uint64_t n = 0;
    LIST_FOREACH (holder, &leases->holders, entry)
        if (holder->peer.uid == uid)
            n += holder->n_leases;
    return n;
}

/* Returns 0, or the reason why the holder may not have `n` leases more; see lease_take. */
static int check_leases(const struct holder *holder, unsigned n)
{
    if (holder->n_leases + n > LEASES_PER_CONNECTION_MAX)
        return -EMFILE;
    return count_leases_of(holder->leases, holder->peer.uid) + n > LEASES_PER_USER_MAX ? -EDQUOT
                                                                                       : 0;
}

/* NULL when out of memory. */
static struct lease *add(struct holder *holder, struct layer *layer, uint64_t id)
{
    struct lease *lease = malloc(sizeof *lease);
    if (!lease)
        return NULL;
    *lease = (struct lease){
        .layer = layer,
        .id = id,
        .is_mapped = holder->lock_id > 0,
    };
    scheduler_pin_lease(holder->leases->scheduler, layer, lease->is_mapped);
    TAILQ_INSERT_TAIL(&holder->list, lease, entry);
    holder->n_leases++;
    return lease;
}

static int take(struct holder *holder, struct layer *layer, struct lease **ret)
{
    int r = check_leases(holder, 1);
    if (r < 0)
        return r;
    *ret = add(holder, layer, ++holder->leases->last_id);
    return *ret ? 0 : -ENOMEM;
}

int lease_take(struct holder *holder, struct layer *layer, struct client_view *view,
               const struct lease **ret)
{
    struct lease *lease;
    int r = take(holder, layer, &lease);
    if (r < 0)
        return r;
    lease->view = view;
    if (view) {
        client_view_hold(view, (int64_t)layer_definition(layer)->bytes);
        lease->is_streamed = view_plan_leased(view, layer);
    }
    *ret = lease;
    return 0;
}

int lease_take_units(struct holder *holder, const struct layer_set *set, const struct lease **ret)
{
    int r = check_leases(holder, set->n);
    if (r < 0)
        return r;
    uint64_t id = ++holder->leases->last_id;
    for (uint32_t i = 0; i < set->n; i++) {
        *ret = add(holder, set->layers[i], id);
        if (!*ret) {
            lease_release(holder, id);
            return -ENOMEM;
        }
    }
    return 0;
}

int holder_begin_view(struct holder *holder, struct model *model, const struct client_view *view)
{
    int r = client_view_begin(&holder->views, view);
    if (r == 0)
        model->n_views++;
    return r;
}

void holder_end_view(struct holder *holder, struct client_view *view)
{
    struct model *model = scheduler_find_model(holder->leases->scheduler, view->model);
    if (model && model->registration == view->registration)
        model->n_views--;
    struct lease *lease;
    TAILQ_FOREACH (lease, &holder->list, entry)
        if (lease->view == view) {
            lease->view = NULL;
            view_plan_released(view, lease->layer, lease->is_streamed);
        }
    view_plan_leave(view);
    client_view_end(&holder->views, view);
}

int lease_release(struct holder *holder, uint64_t id)
{
    struct lease *lease, *next;
    int r = -ENOENT;
    for (lease = TAILQ_FIRST(&holder->list); lease; lease = next) {
        next = TAILQ_NEXT(lease, entry);
        if (lease->id == id && !lease->is_of_run) {
            give_back(holder, lease);
            r = 0;
        } else if (r == 0) {
            break; /* those with one id are neighbours */
        }
    }
    return r;
}

uint64_t holder_pages(const struct holder *holder, const struct layer_set *wanted)
{
    const struct scheduler *scheduler = holder->leases->scheduler;
    const struct lease *lease;
    uint64_t n_pages = 0;
    TAILQ_FOREACH (lease, &holder->list, entry) {
        if (!lease->layer->counted)
            n_pages += scheduler_layer_pages(scheduler, lease->layer);
        lease->layer->counted = 1;
    }
    for (uint32_t i = 0; wanted && i < wanted->n; i++)
        if (!wanted->layers[i]->counted)
            n_pages += scheduler_footprint(scheduler, wanted->layers[i], NULL);
    TAILQ_FOREACH (lease, &holder->list, entry) {
        lease->layer->counted = 0;
    }
    return n_pages;
}

/* Returns 0, or the reason why the holder may begin no more runs; see client_run_begin. */
static int check_runs(const struct holder *holder)
{
    const struct holder *other;
    uint64_t n_user = 0, n_members = 0;
    LIST_FOREACH (other, &holder->leases->holders, entry) {
        n_user += other->peer.uid == holder->peer.uid ? other->n_runs : 0;
        n_members += other->peer.tier != TIER_ADMIN ? other->n_runs : 0;
    }
    if (holder->n_runs == RUNS_PER_CONNECTION_MAX)
        return -EMFILE;
    if (n_user >= RUNS_PER_USER_MAX)
        return -EDQUOT;
    return holder->peer.tier != TIER_ADMIN && n_members >= RUNS_OF_MEMBERS_MAX ? -EUSERS : 0;
}

int client_run_begin(struct holder *holder, struct model *model, struct client_run **ret)
{
    int r = check_runs(holder);
    if (r < 0)
        return r;
    struct client_run *run = calloc(1, sizeof *run);
    if (!run)
        return -ENOMEM;
    r = scheduler_begin_run(holder->leases->scheduler, model, &run->run);
    if (r < 0) {
        free(run);
        return r == -EMFILE ? -EUSERS : r;
    }
    run->holder = holder;
    run->id = ++holder->leases->last_id;
    LIST_INSERT_HEAD(&holder->runs, run, entry);
    holder->n_runs++;
    *ret = run;
    return 0;
}

struct client_run *client_run_end(struct client_run *run)
{
    if (!run)
        return NULL;
    if (run->lease)
        give_back(run->holder, run->lease);
    scheduler_end_run(run->holder->leases->scheduler, run->run);
    LIST_REMOVE(run, entry);
    run->holder->n_runs--;
    free(run);
    return NULL;
}

struct client_run *client_run_find(const struct holder *holder, uint64_t id)
{
    struct client_run *run;
    LIST_FOREACH (run, &holder->runs, entry)
        if (run->id == id)
            return run;
    return NULL;
}

void client_run_leave(struct client_run *run, uint64_t now_usec)
{
    if (run->lease)
        give_back(run->holder, TAKE_PTR(run->lease));
    scheduler_run_leave(run->holder->leases->scheduler, run->run, now_usec);
}

int client_run_enter(struct client_run *run, uint64_t now_usec)
{
    int r = take(run->holder, run->run->next, &run->lease);
    if (r < 0)
        return r;
    run->lease->is_of_run = true;
    scheduler_run_enter(run->holder->leases->scheduler, run->run, now_usec);
    return 0;
}
