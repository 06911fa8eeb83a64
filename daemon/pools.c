#include "daemon/pools.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/passed_fd.h"
#include "daemon/methods/turns.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLANNERS = TURNS_AT_ONCE + 2, /* one for each Plan that may go on, and one for runs' plans */
    READERS = TURNS_AT_ONCE + 2,  /* likewise, and one for LoadModel */
    END_USEC = 3000000,
    N_EVENTS = sizeof((struct pools){0}.events) / sizeof((struct pools){0}.events[0])
};

struct closing {
    struct job job;
    struct passed_fd_owner *owner; /* may be NULL */
    size_t n_fds;
    int fds[]; /* n_fds */
};

/* The loop's thread, which must not wait for a file server. A worker may. */
static pthread_t loop;

static int close_step(struct job *job, uint64_t index)
{
    const struct closing *closing = (struct closing *)job;
    (void)index;
    for (size_t i = 0; i < closing->n_fds; i++) {
        worker_reads();
        close(closing->fds[i]);
    }
    return 0;
}

static void closed(struct job *job, int error)
{
    const struct closing *closing = (struct closing *)job;
    (void)error;
    passed_fds_closed(closing->owner, closing->n_fds);
    free(job);
}

/* One job, because to wake the thread and to be woken again for each descriptor costs the loop far
 * more than the closing. */
static bool close_elsewhere(const int *fds, size_t n_fds, struct passed_fd_owner *owner,
                            void *context)
{
    struct workers *closers = context;
    struct closing *closing = pthread_equal(pthread_self(), loop)
                                  ? calloc(1, sizeof *closing + n_fds * sizeof *fds)
                                  : NULL;
    if (!closing)
        return false;
    /* While one of an owner's does not answer, no other thread begins to close more of his. */
    *closing = (struct closing){
        {.n_steps = 1, .step = close_step, .done = closed, .file = owner}, owner, n_fds};
    memcpy(closing->fds, fds, n_fds * sizeof *fds);
    passed_fds_later(owner, n_fds);
    workers_submit(closers, &closing->job);
    return true;
}

int pools_start(struct pools *pools, unsigned n_loaders)
{
    int r = workers_new(1, false, &pools->closers);
    if (r < 0)
        return r;
    loop = pthread_self();
    passed_fds_set_closer(close_elsewhere, pools->closers);
    r = workers_new(READERS, false, &pools->readers);
    if (r == 0)
        r = workers_new(n_loaders, false, &pools->loaders);
    if (r == 0)
        r = workers_new(n_loaders, true, &pools->prompt_loaders);
    if (r == 0)
        r = workers_new(1, false, &pools->trimmers);
    return r < 0 ? r : workers_new(PLANNERS, false, &pools->planners);
}

static void on_work(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    workers_dispatch(context);
}

static uint64_t in_seconds(uint64_t usec)
{
    return (usec + 500000) / 1000000;
}

static void report(const struct clock_change *change)
{
    if (change->set_usec != 0)
        log_notice("the wall clock was set %s by %" PRIu64 " s",
                   change->set_usec > 0 ? "forward" : "back",
                   in_seconds((uint64_t)llabs(change->set_usec)));
    if (change->slept_usec > 0)
        log_notice("the machine slept for %" PRIu64 " s", in_seconds(change->slept_usec));
    if (change->stood_usec > 0)
        log_notice("the daemon stood still for %" PRIu64 " s: it was stopped, or had no processor",
                   in_seconds(change->stood_usec));
}

/* While the daemon stood still no step could go on, so each gets its time again. */
static void on_look(evutil_socket_t fd, short what, void *context)
{
    struct pools *pools = context;
    struct clock_times now = clock_times_now();
    struct clock_change change = clock_watch_look(&pools->clocks, &now);
    uint64_t now_usec = now.mono_usec;
    (void)fd;
    (void)what;

    report(&change);
    if (change.stood_usec > 0)
        pools->no_look_before_usec = now_usec + WORKERS_ABANDON_USEC;
    if (now_usec < pools->no_look_before_usec)
        return;
    workers_look(pools->readers, now_usec);
    workers_look(pools->loaders, now_usec);
    workers_look(pools->prompt_loaders, now_usec);
    workers_look(pools->closers, now_usec);
}

static struct event *watch(struct event_base *base, struct workers *workers)
{
    return event_new(base, workers_fd(workers), EV_READ | EV_PERSIST, on_work, workers);
}

int pools_watch(struct pools *pools, struct event_base *base)
{
    static const struct timeval every_second = {.tv_sec = CLOCK_WATCH_EVERY_USEC / 1000000};
    pools->clocks.last = clock_times_now();
    pools->events[0] = event_new(base, -1, EV_PERSIST, on_look, pools);
    pools->events[1] = watch(base, pools->readers);
    pools->events[2] = watch(base, pools->loaders);
    pools->events[3] = watch(base, pools->planners);
    pools->events[4] = watch(base, pools->closers);
    pools->events[5] = watch(base, pools->trimmers);
    pools->events[6] = watch(base, pools->prompt_loaders);
    for (size_t i = 0; i < N_EVENTS; i++)
        if (!pools->events[i] || event_add(pools->events[i], i == 0 ? &every_second : NULL) < 0)
            return -ENOMEM;
    return 0;
}

int pools_end(struct pools *pools)
{
    uint64_t deadline_usec = clock_monotonic_usec() + END_USEC;
    for (size_t i = 0; i < N_EVENTS; i++)
        if (pools->events[i])
            event_free(pools->events[i]);
    int r = workers_end(pools->readers, deadline_usec); /* planners free what they have read */
    if (r == 0)
        r = workers_end(pools->planners, deadline_usec);
    if (r == 0)
        r = workers_end(pools->trimmers, deadline_usec);
    if (r == 0)
        r = workers_end(pools->prompt_loaders, deadline_usec);
    return r < 0 ? r : workers_end(pools->loaders, deadline_usec);
}

int pools_end_closers(struct pools *pools)
{
    int r = workers_end(pools->closers, clock_monotonic_usec() + END_USEC);
    if (r == 0)
        passed_fds_set_closer(NULL, NULL);
    return r;
}

_Noreturn void pools_leave(int status)
{
    log_warn("a file still does not answer: the daemon ends without it, and if it cannot be "
             "interrupted, as of a FUSE server, the process is gone when the server is");
    _exit(status);
}
