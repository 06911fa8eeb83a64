/* Owns one Acquire or Next from its call to its reply. It waits first for its turn, then for room
 * in the arena, then for the bytes; each wait may end at once.
 *
 * Invariant: an acquisition of several layers pins those that it has while it loads the others, and
 * none while it waits for room. So no two of them wait for each other's layers. */
#include "daemon/methods/acquisition.h"

#include "common/clock.h"
#include "daemon/methods/acquisition_reply.h"
#include "daemon/methods/client_process.h"
#include "daemon/methods/error_replies.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Freed after its reply, or when its connection ends. */
struct acquisition {
    struct manager *manager;
    struct call *call;
    struct requester requester; /* also after the call has its reply */
    struct holder *holder;
    struct layer *layer;       /* the first of the set */
    struct layer_set set;      /* what it leases */
    struct layer **order;      /* the set in the order in which it is loaded */
    uint32_t n_pinned;         /* of `order` */
    struct client_run *run;    /* NULL: Acquire */
    struct load_request *load; /* NULL before its turn */
    struct wait wait;
    uint64_t deadline_usec; /* 0: does not wait */
    uint64_t fill_id;       /* see struct acquisition_options */
    uint64_t view_id;       /* it may have ended meanwhile */
    struct layer *next;     /* see struct acquisition_options */
    bool is_admin;
    bool has_recalled;      /* it has asked views for room */
    struct layer *layers[]; /* those of the set, then those of the order */
};

static void connection_ended(void *context)
{
    struct holder *holder = context;
    holder->process = client_process_free(holder->process);
    acquisition_report_views(holder);
    orphans_take(&holder->manager->orphans, holder);
}

struct holder *acquisition_find_holder(struct manager *manager, struct call *call)
{
    struct holder *holder = call_connection_data(call);
    if (!holder) {
        holder = holder_new(&manager->leases, call_peer(call));
        if (!holder)
            return NULL;
        holder->manager = manager;
        holder->process = client_process_watch(manager->base, call);
        call_set_connection_data(call, holder, connection_ended);
    }
    return holder;
}

static void reply_lease_failure(struct call *call, int error)
{
    if (error == -EMFILE)
        reply_limit(call, "leases of a connection", LEASES_PER_CONNECTION_MAX);
    else if (error == -EDQUOT)
        reply_limit(call, "leases of a user", LEASES_PER_USER_MAX);
    else
        call_io_failed(call, "lease", error);
}

/* The layers must be resident. */
static void reply_lease(struct acquisition *acquisition, bool hit)
{
    struct manager *manager = acquisition->manager;
    struct client_run *run = acquisition->run;
    struct client_view *view = client_view_find(&acquisition->holder->views, acquisition->view_id);
    _cleanup_(closep) int arena_fd = -1;
    _cleanup_(acquisition_reply_freep) struct acquisition_reply *reply =
        acquisition_reply_new(manager->scheduler, &acquisition->set, run ? run->run : NULL, hit);
    const struct lease *lease;
    int r = reply ? 0 : -ENOMEM;

    if (r == 0 && !acquisition->holder->has_arena && manager->backing &&
        !call_oneway(acquisition->call)) {
        arena_fd = backing_open_for_client(manager->backing);
        if (arena_fd >= 0 && acquisition->holder->views.n > 0)
            r = orphans_lock(&manager->orphans, acquisition->holder, arena_fd);
        if (arena_fd < 0) {
            call_io_failed(acquisition->call, "open the arena", arena_fd);
            return;
        }
    }
    if (r == 0)
        r = run ? client_run_enter(run, clock_monotonic_usec())
            : acquisition->set.n > 1
                ? lease_take_units(acquisition->holder, &acquisition->set, &lease)
                : lease_take(acquisition->holder, acquisition->layer, view, &lease);
    if (r < 0) {
        reply_lease_failure(acquisition->call, r);
        return;
    }
    if (run)
        lease = run->lease;
    if (view)
        client_view_count(view, layer_definition(acquisition->layer)->bytes, hit);
    if (view && !hit)
        metrics_add_duration(manager->metrics, METRICS_FAULT,
                             clock_monotonic_usec() - call_begun_usec(acquisition->call));
    if (acquisition->fill_id == layer_set_fill_id(&acquisition->set))
        for (uint32_t i = 0; i < acquisition->set.n; i++)
            grace_take_up(handover_grace(manager->handover), acquisition->set.layers[i]);

    uint64_t fd_index = UINT64_MAX;
    if (arena_fd >= 0) {
        fd_index = call_attach_fd(acquisition->call, TAKE_FD(arena_fd));
        acquisition->holder->has_arena = true;
    }
    acquisition_reply_send(TAKE_PTR(reply), manager->planners, acquisition->call, lease->id,
                           fd_index);
}

/* One of several layers is resident. */
static void pin(const struct load_progress *progress, const struct layer *layer, void *context)
{
    struct acquisition *acquisition = context;
    (void)progress;
    assert(acquisition->order[acquisition->n_pinned] == layer);
    scheduler_pin(acquisition->manager->scheduler, acquisition->order[acquisition->n_pinned++]);
}

static void unpin_all(struct acquisition *acquisition)
{
    while (acquisition->n_pinned > 0)
        scheduler_unpin(acquisition->manager->scheduler,
                        acquisition->order[--acquisition->n_pinned]);
}

static void cancelled(void *context)
{
    struct acquisition *acquisition = context;
    wait_end(&acquisition->wait);
    unpin_all(acquisition);
    if (acquisition->load)
        load_request_cancel(acquisition->load);
    free(acquisition);
}

/* Reads the view's next layer, one at a time, and not before those who wait for room. */
static void read_next(const struct acquisition *acquisition, struct client_view *view)
{
    const struct manager *manager = acquisition->manager;
    struct layer *next = acquisition->next;
    const struct layer *before = view->has_next ? &next->model->layers[view->next] : NULL;

    if ((before && before->ahead &&
         scheduler_layer_state(manager->scheduler, before) != LAYER_ABSENT) ||
        waits_ahead_of(manager->waits, acquisition->is_admin) ||
        !view_plan_may_read_ahead(view, next) ||
        !load_requests_read_layer_ahead(manager->loads, &acquisition->requester, next))
        return;
    view->has_next = true;
    view->next = next->index;
}

static void read_ahead(const struct acquisition *acquisition)
{
    struct client_view *view = client_view_find(&acquisition->holder->views, acquisition->view_id);

    if (acquisition->run)
        load_requests_read_ahead(acquisition->manager->loads, &acquisition->requester,
                                 acquisition->run->run);
    else if (view && acquisition->next)
        read_next(acquisition, view);
}

/* A program that reads a view gets a signal, and no error that says why. */
static void report_unreadable(const struct acquisition *acquisition, int error)
{
    const struct layer *layer = acquisition->layer;
    const struct client_view *view =
        client_view_find(&acquisition->holder->views, acquisition->view_id);

    if (view && layer_definition(layer)->n_pieces > 0)
        events_on_unreadable(acquisition->manager->events, layer, layer_failed_path(layer), error,
                             view->program, &acquisition->requester);
}

static void ended(const struct load_progress *progress, const struct load_end *end, void *context)
{
    _cleanup_(freep) struct acquisition *acquisition = context;
    if (end->error < 0)
        report_unreadable(acquisition, end->error);
    if (end->error < 0 || end->refusal != ERROR_NONE) {
        unpin_all(acquisition);
        reply_load_end(acquisition->manager, acquisition->call, end);
        return;
    }
    reply_lease(acquisition, progress->hits > 0 && progress->ahead == 0);
    unpin_all(acquisition);
    read_ahead(acquisition);
}

/* While the layer's last bytes are still being read, the disk already continues with the next
 * layer. */
static void waiting(void *context)
{
    struct acquisition *acquisition = context;
    read_ahead(acquisition);
}

static void wait_over(enum wait_end end, void *context);

static void begin_wait(struct acquisition *acquisition)
{
    if (acquisition->set.n > 1)
        wait_begin_together(&acquisition->wait, acquisition->manager->waits, &acquisition->set,
                            acquisition->deadline_usec, acquisition->is_admin, wait_over,
                            acquisition);
    else
        wait_begin(&acquisition->wait, acquisition->manager->waits, acquisition->layer,
                   acquisition->deadline_usec, acquisition->is_admin, wait_over, acquisition);
}

/* There is no room. Returns whether the acquisition waits for it. If the caller's own leases alone
 * leave too little, the caller must not wait, because it cannot release them while it waits. */
static bool wait_for_room(struct acquisition *acquisition)
{
    struct manager *manager = acquisition->manager;
    const struct layer_set *set = &acquisition->set;
    if (holder_pages(acquisition->holder, set) >
        arena_capacity_pages(scheduler_arena(manager->scheduler)))
        return false;
    if (!acquisition->has_recalled && acquisition->view_id == 0 &&
        view_plans_make_room(&manager->view_plans,
                             scheduler_footprint_together(manager->scheduler, set, NULL)) &&
        acquisition->deadline_usec == 0)
        acquisition->deadline_usec = clock_monotonic_usec() + VIEW_RECALL_USEC;
    acquisition->has_recalled = true;
    if (acquisition->deadline_usec == 0)
        return false;
    begin_wait(acquisition);
    return true;
}

static bool blocked(const struct layer *layer, void *context)
{
    struct acquisition *acquisition = context;
    (void)layer;
    unpin_all(acquisition);
    return wait_for_room(acquisition);
}

/* Those that are resident come first, so that they are pinned before the others need room. */
static void find_order(struct acquisition *acquisition)
{
    const struct scheduler *scheduler = acquisition->manager->scheduler;
    const struct layer_set *set = &acquisition->set;
    uint32_t n = 0;
    for (int absent = 0; absent <= 1; absent++)
        for (uint32_t i = 0; i < set->n; i++)
            if ((scheduler_layer_state(scheduler, set->layers[i]) != LAYER_RESIDENT) == absent)
                acquisition->order[n++] = set->layers[i];
}

/* Several layers have no room together. Waits for it, or answers the call and frees the
 * acquisition. */
static void refuse_together(struct acquisition *acquisition, enum decision decision)
{
    const struct scheduler *scheduler = acquisition->manager->scheduler;
    const struct arena *arena = scheduler_arena(scheduler);
    struct model_refusal refusal = {
        .error = ERROR_OUT_OF_MEMORY,
        .layer = acquisition->set.units_of,
        .available_bytes = arena_free_pages(arena) * arena_page_bytes(arena),
        .capacity_bytes = arena_capacity_pages(arena) * arena_page_bytes(arena),
    };
    if (decision == DECISION_BUSY && wait_for_room(acquisition))
        return;
    scheduler_footprint_together(scheduler, &acquisition->set, &refusal.requested_bytes);
    if (decision == DECISION_BUSY)
        reply_busy(acquisition->manager, acquisition->call);
    else
        reply_model_refusal(acquisition->call, &refusal);
    free(acquisition);
}

static void start(struct acquisition *acquisition)
{
    struct manager *manager = acquisition->manager;
    const struct load_hooks hooks = {acquisition->set.n > 1 ? pin : NULL, blocked, waiting, ended,
                                     acquisition->view_id > 0};
    const struct load_layers layers = {
        .model = acquisition->layer->model, .chosen = acquisition->order, .n = acquisition->set.n};

    find_order(acquisition);
    if (acquisition->set.n > 1) {
        scheduler_set_requester(manager->scheduler, &acquisition->requester);
        enum decision decision = scheduler_decide_together(manager->scheduler, &acquisition->set);
        scheduler_set_requester(manager->scheduler, NULL);
        if (decision != DECISION_LOADED) {
            refuse_together(acquisition, decision);
            return;
        }
    }
    int r = load_request_start(manager->loads, &acquisition->requester, &layers, ON_FULL_EVICT,
                               &hooks, acquisition, &acquisition->load);
    if (r < 0) {
        call_io_failed(acquisition->call, "lease", r);
        free(acquisition);
    }
}

static void wait_over(enum wait_end end, void *context)
{
    struct acquisition *acquisition = context;
    if (end == WAIT_GONE) {
        const json_t *model = json_object_get(call_parameters(acquisition->call), "model");
        reply_not_found(acquisition->call, "model", json_string_value(model));
        if (acquisition->load)
            load_request_cancel(acquisition->load);
        free(acquisition);
        return;
    }
    if (end == WAIT_EXPIRED)
        acquisition->deadline_usec = 0;
    if (acquisition->load && acquisition->set.n > 1) { /* the others may be absent by now */
        load_request_cancel(acquisition->load);
        acquisition->load = NULL;
    }
    if (acquisition->load)
        load_request_resume(acquisition->load);
    else
        start(acquisition);
}

static bool is_any_absent(const struct scheduler *scheduler, const struct layer_set *set)
{
    for (uint32_t i = 0; i < set->n; i++)
        if (scheduler_layer_state(scheduler, set->layers[i]) == LAYER_ABSENT)
            return true;
    return false;
}

void acquisition_begin(struct manager *manager, struct call *call, struct holder *holder,
                       const struct layer_set *set, const struct acquisition_options *options,
                       struct client_run *run)
{
    static const struct call_hooks call_hooks = {.cancelled = cancelled};
    struct acquisition *acquisition =
        calloc(1, sizeof *acquisition + 2 * set->n * sizeof *acquisition->layers);
    if (!acquisition) {
        call_io_failed(call, "lease", -ENOMEM);
        return;
    }
    memcpy(acquisition->layers, set->layers, set->n * sizeof *set->layers);
    acquisition->set = (struct layer_set){acquisition->layers, set->n, set->units_of};
    acquisition->order = acquisition->layers + set->n;
    acquisition->manager = manager;
    acquisition->call = call;
    acquisition->requester = manager_requester(call);
    acquisition->holder = holder;
    acquisition->layer = set->layers[0];
    acquisition->run = run;
    acquisition->deadline_usec =
        options->wait_usec > 0 ? clock_monotonic_usec() + options->wait_usec : 0;
    acquisition->fill_id = options->fill_id;
    acquisition->view_id = options->view_id;
    acquisition->next = options->next;
    acquisition->is_admin = call_peer(call)->tier == TIER_ADMIN;
    call_set_hooks(call, &call_hooks, acquisition);

    /* A caller with leases does not queue, because its leases may block a client that is ahead of
     * it. */
    bool must_queue = options->wait_usec > 0 && holder->n_leases == 0 &&
                      waits_ahead_of(manager->waits, acquisition->is_admin) &&
                      is_any_absent(manager->scheduler, set);
    if (must_queue)
        begin_wait(acquisition);
    else
        start(acquisition);
}

bool acquisition_check_options(struct call *call, const struct acquisition_options *options)
{
    if (options->wait_usec <= WAIT_USEC_MAX)
        return true;
    call_invalid_parameter(call, "waitUsec");
    return false;
}

uint64_t acquisition_parse_id(const char *text)
{
    char *end;
    errno = 0;
    uint64_t id = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *text >= '1' && *text <= '9' ? id : 0;
}
