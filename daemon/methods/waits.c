/* Owns the queue, and the two events that look at it. One comes after a change of the scheduler; it
 * runs from the loop, because an observer must not change the scheduler. The other comes at the
 * nearest deadline. */
#include "daemon/methods/waits.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <assert.h>
#include <errno.h>

struct waits {
    struct scheduler *scheduler;
    struct wait_list queue;
    uint64_t n_waiting;
    struct event *changed, *deadline;
};

static bool can_go_on(const struct waits *waits, const struct wait *wait)
{
    bool is_first = wait == TAILQ_FIRST(&waits->queue);
    if (wait->together)
        return is_first && scheduler_can_place_together(waits->scheduler, wait->together);
    return (is_first && scheduler_can_place(waits->scheduler, wait->layer)) ||
           scheduler_layer_state(waits->scheduler, wait->layer) != LAYER_ABSENT;
}

/* Serves every request that can be served: any whose layer is resident now or was removed, and,
 * from the front of the queue, those for which there is room. Serving a request may change the
 * queue, so the search starts over after each. */
static void serve(struct waits *waits)
{
    struct wait *wait;
again:
    TAILQ_FOREACH (wait, &waits->queue, entry) {
        const struct layer *layer = wait->layer;
        if (!layer || can_go_on(waits, wait)) {
            wait_end(wait);
            wait->over(layer ? WAIT_PLACE : WAIT_GONE, wait->context);
            goto again;
        }
    }
}

static void arm(struct waits *waits)
{
    uint64_t deadline_usec = UINT64_MAX, now_usec = clock_monotonic_usec();
    const struct wait *wait;
    TAILQ_FOREACH (wait, &waits->queue, entry)
        if (deadline_usec > wait->deadline_usec)
            deadline_usec = wait->deadline_usec;
    if (deadline_usec == UINT64_MAX) {
        event_del(waits->deadline);
        return;
    }
    uint64_t left_usec = deadline_usec > now_usec ? deadline_usec - now_usec : 0;
    struct timeval left = clock_timeval(left_usec);
    event_add(waits->deadline, &left);
}

static void on_changed(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    serve(context);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    struct waits *waits = context;
    uint64_t now_usec = clock_monotonic_usec();
    struct wait *wait;
    (void)fd;
    (void)what;
again:
    TAILQ_FOREACH (wait, &waits->queue, entry) {
        if (wait->deadline_usec <= now_usec) {
            wait_end(wait);
            wait->over(wait->layer ? WAIT_EXPIRED : WAIT_GONE, wait->context);
            goto again;
        }
    }
    arm(waits);
    serve(waits); /* requests that stood behind an expired one */
}

int waits_new(struct event_base *base, struct scheduler *scheduler, struct waits **ret)
{
    _cleanup_(waits_freep) struct waits *waits = calloc(1, sizeof *waits);
    if (!waits)
        return -ENOMEM;
    waits->scheduler = scheduler;
    TAILQ_INIT(&waits->queue);
    waits->changed = event_new(base, -1, 0, on_changed, waits);
    waits->deadline = event_new(base, -1, 0, on_deadline, waits);
    if (!waits->changed || !waits->deadline)
        return -ENOMEM;
    *ret = TAKE_PTR(waits);
    return 0;
}

struct waits *waits_free(struct waits *waits)
{
    if (!waits)
        return NULL;
    assert(TAILQ_EMPTY(&waits->queue));
    if (waits->changed)
        event_free(waits->changed);
    if (waits->deadline)
        event_free(waits->deadline);
    free(waits);
    return NULL;
}

void wait_begin(struct wait *wait, struct waits *waits, const struct layer *layer,
                uint64_t deadline_usec, bool is_admin,
                void (*over)(enum wait_end end, void *context), void *context)
{
    *wait = (struct wait){.waits = waits,
                          .layer = layer,
                          .deadline_usec = deadline_usec,
                          .is_admin = is_admin,
                          .over = over,
                          .context = context};
    struct wait *before = NULL;
    if (is_admin)
        TAILQ_FOREACH (before, &waits->queue, entry)
            if (!before->is_admin)
                break;
    if (before)
        TAILQ_INSERT_BEFORE(before, wait, entry);
    else
        TAILQ_INSERT_TAIL(&waits->queue, wait, entry);
    waits->n_waiting++;
    arm(waits);
}

void wait_begin_together(struct wait *wait, struct waits *waits, const struct layer_set *set,
                         uint64_t deadline_usec, bool is_admin,
                         void (*over)(enum wait_end end, void *context), void *context)
{
    wait_begin(wait, waits, set->layers[0], deadline_usec, is_admin, over, context);
    wait->together = set;
}

void wait_end(struct wait *wait)
{
    struct waits *waits = wait->waits;
    if (!waits)
        return;
    TAILQ_REMOVE(&waits->queue, wait, entry);
    wait->waits = NULL;
    waits->n_waiting--;
    event_active(waits->changed, 0, 0); /* the request behind it may be served now */
}

void waits_on_scheduler(const struct scheduler_event *event, void *context)
{
    struct waits *waits = context;
    struct wait *wait;
    if (waits->n_waiting == 0)
        return;
    if (event->type == EVENT_MODEL_REMOVED)
        TAILQ_FOREACH (wait, &waits->queue, entry)
            if (wait->layer && wait->layer->model == event->model)
                wait->layer = NULL;
    event_active(waits->changed, 0, 0);
}

bool waits_ahead_of(const struct waits *waits, bool is_admin)
{
    const struct wait *first = TAILQ_FIRST(&waits->queue);
    return first && (first->is_admin || !is_admin);
}

uint64_t waits_count(const struct waits *waits)
{
    return waits->n_waiting;
}
