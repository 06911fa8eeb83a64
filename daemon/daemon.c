/* The composition root, the only file that knows every part. It builds the parts in the order of
 * struct daemon, and frees them in reverse order. */
#include "daemon/daemon.h"

#include "common/clock.h"
#include "common/page.h"
#include "common/thread_priority.h"
#include "daemon/control/server.h"
#include "daemon/disposal.h"
#include "daemon/grace_timer.h"
#include "daemon/history/history.h"
#include "daemon/load_portions.h"
#include "daemon/methods/manager.h"
#include "daemon/methods/methods.h"
#include "daemon/overhead.h"
#include "daemon/pools.h"
#include "daemon/reload.h"
#include "daemon/restart/handover.h"
#include "daemon/sampling.h"
#include "daemon/scrapes.h"
#include "daemon/sockets.h"
#include "daemon/status_line.h"
#include "daemon/system/service_manager.h"
#include "proto/interface.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

struct daemon {
    struct config *config;
    struct sockets sockets;
    struct handover *handover;
    struct backing *backing;
    struct scheduler *scheduler; /* owns the arena */
    struct pools pools;
    struct loader *loader;
    struct load_requests *loads;
    struct load_portions *portions;
    struct monitor *monitor;
    struct events *events;
    struct history *history;
    struct metrics *metrics;
    struct scrapes *scrapes;
    struct sampling *sampling;
    struct event_base *base;
    struct waits *waits;
    struct server *server;
    struct manager manager;
    struct interface interfaces[2];
    struct peer_rules rules;
    struct reload reload;
    char status[STATUS_LINE_MAX];

    struct event *watched[5];
    struct grace_timer grace_timer;
    size_t n_watched;
    bool leaves_nothing; /* no other process will take over the arena */
};

static const struct server_info server_info = {"EdgeMind", "edgemindd", EDGEMIND_VERSION,
                                               "https://edgemind.io"};

/* Sends the status line if it has changed. */
static void tell_status(void *context)
{
    struct daemon *daemon = context;
    char status[STATUS_LINE_MAX];
    status_line_format(daemon->scheduler, daemon->backing, monitor_last(daemon->monitor), status);
    if (strcmp(status, daemon->status) != 0) {
        strcpy(daemon->status, status);
        service_manager_status(status);
    }
}

static void on_terminate(evutil_socket_t signal, short what, void *context)
{
    struct daemon *daemon = context;
    (void)what;
    log_info("ending on %s", strsignal((int)signal));
    event_base_loopbreak(daemon->base);
}

static void on_last_user_gone(void *context)
{
    struct daemon *daemon = context;
    event_base_loopbreak(daemon->base);
}

static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context;
    service_manager_watchdog();
}

/* Applies the settings that a running daemon can change. Also called once at the start. */
static int apply_config(gid_t admin_gid, void *context)
{
    struct daemon *daemon = context;
    const struct config *config = daemon->config;
    int r = sampling_set_interval(daemon->sampling, config->monitor_interval_usec);
    if (r < 0)
        return r;

    /* From here on nothing fails: a reload that fails must change nothing. */
    daemon->rules.admin_gid = admin_gid;
    server_set_rules(daemon->server, &daemon->rules);
    server_set_limits(daemon->server, &(struct server_limits){config->max_connections,
                                                              config->max_connections_per_user});
    events_on_setting(daemon->events, "on-full", on_full_name(daemon->manager.on_full),
                      on_full_name(config->on_full), &(struct requester){0});
    daemon->manager.on_full = config->on_full;
    events_on_setting(daemon->events, "on-pressure", daemon->manager.on_pressure,
                      on_pressure_name(config->on_pressure), &(struct requester){0});
    daemon->manager.on_pressure = on_pressure_name(config->on_pressure);
    trimming_switch(sampling_trimming(daemon->sampling), config->on_pressure == ON_PRESSURE_TRIM);
    daemon->manager.model_dir = config->model_dir;
    daemon->manager.overhead_limit_bytes = config->overhead_limit_bytes;
    server_set_pending_limit(daemon->server, overhead_pending_bytes(config->overhead_limit_bytes));
    memory_gate_set_limit(&daemon->manager.memory_gate, config->overhead_limit_bytes,
                          overhead_free_bytes(config->overhead_limit_bytes));
    if (scheduler_policy(daemon->scheduler) != config->policy)
        scheduler_set_policy(daemon->scheduler, config->policy);
    log_set_level(config->log_level);
    return 0;
}

static void on_reload(evutil_socket_t signal, short what, void *context)
{
    struct daemon *daemon = context;
    (void)signal;
    (void)what;
    service_manager_reloading();
    reload_start(&daemon->reload);
}

static void on_reloaded(bool has_failed, void *context)
{
    struct daemon *daemon = context;
    if (!has_failed)
        events_on_reload(daemon->events);
    service_manager_ready(daemon->status);
}

static int take_fd(enum service_fd kind, int fd, const char *name, void *context)
{
    struct daemon *daemon = context;
    if (kind == SERVICE_STORED) {
        handover_take(daemon->handover, name, fd);
        return 0;
    }
    return sockets_take(&daemon->sockets, fd, kind == SERVICE_LISTENING);
}

/* Takes what the service manager passed: the sockets, and what the last process left. */
static int take_passed(struct daemon *daemon)
{
    daemon->handover = handover_new(daemon->config->simulate ? 0 : service_manager_store_max());
    int r = daemon->handover ? service_manager_take_fds(take_fd, daemon) : -ENOMEM;
    return r < 0 ? log_failure("cannot use what the service manager passed", r) : 0;
}

/* Builds the arena, and the parts that work on it. */
static int build_memory(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    uint64_t page_bytes = arena_simulated_page_bytes(config->capacity_bytes, system_page_bytes());
    struct arena *arena;
    int r;

    if (!config->simulate) {
        char why[BACKING_WHY_MAX];
        r = handover_backing(daemon->handover,
                             &(struct backing_config){config->capacity_bytes, config->huge_pages,
                                                      config->commit, config->mlock,
                                                      config->on_pressure == ON_PRESSURE_TRIM},
                             &daemon->backing, why);
        if (r < 0) {
            log_error("%s", why);
            return r;
        }
        page_bytes = backing_page_bytes(daemon->backing);
    }
    if ((r = arena_new(config->capacity_bytes, page_bytes, &arena)) < 0) {
        log_error("capacity: %" PRIu64 " bytes are less than one page of %" PRIu64,
                  config->capacity_bytes, page_bytes);
        return r;
    }
    if ((r = scheduler_new(arena, config->policy, &daemon->scheduler)) < 0 ||
        (daemon->backing &&
         ((r = handover_restore(daemon->handover, daemon->scheduler, arena, daemon->backing)) < 0 ||
          (r = handover_begin(daemon->handover, daemon->scheduler, daemon->backing)) < 0)) ||
        (r = pools_start(&daemon->pools, (unsigned)config->loaders)) < 0 ||
        (r = loader_new(daemon->pools.loaders, daemon->backing, arena, config->io,
                        &daemon->loader)) < 0 ||
        (r = load_requests_new(daemon->scheduler, daemon->loader, &daemon->loads)) < 0 ||
        (r = monitor_new(daemon->backing, "/proc", &daemon->monitor)) < 0)
        return log_failure("cannot start", r);
    loader_set_prompt_workers(daemon->loader, daemon->pools.prompt_loaders);
    if (handover_history_fd(daemon->handover) >= 0)
        monitor_keep_history(daemon->monitor, handover_history_fd(daemon->handover));
    return 0;
}

static void on_scheduler(const struct scheduler_event *event, void *context)
{
    struct daemon *daemon = context;
    handover_on_scheduler(event, daemon->handover);
    history_on_scheduler(event, daemon->history);
    metrics_on_scheduler(event, daemon->metrics);
    events_on_scheduler(event, daemon->events);
    waits_on_scheduler(event, daemon->waits);
    view_plans_on_scheduler(event, &daemon->manager.view_plans);
}

static int build_server(struct daemon *daemon)
{
    struct event_config *event_config = event_config_new();
    if (event_config &&
        event_config_require_features(event_config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE) == 0)
        daemon->base = event_base_new_with_config(event_config);
    if (event_config)
        event_config_free(event_config);
    daemon->events = events_new(daemon->base);
    if (!daemon->base || !daemon->events)
        return log_failure("cannot make an event loop", -ENOMEM);
    int r = waits_new(daemon->base, daemon->scheduler, &daemon->waits);
    if (r < 0 || (r = history_new(daemon->scheduler, &daemon->history)) < 0 ||
        (r = metrics_new(daemon->scheduler, daemon->history, &daemon->metrics)) < 0 ||
        (r = load_portions_new(daemon->base, daemon->loads, &daemon->portions)) < 0 ||
        (r = sampling_new(daemon->base,
                          &(struct sampling_parts){
                              daemon->monitor, tell_status, daemon,
                              .trimming = {daemon->scheduler, daemon->backing, daemon->loader,
                                           daemon->pools.trimmers, daemon->events}},
                          &daemon->sampling)) < 0)
        return log_failure("cannot make an event loop", r);

    daemon->manager = (struct manager){
        .base = daemon->base,
        .scheduler = daemon->scheduler,
        .backing = daemon->backing,
        .handover = daemon->handover,
        .readers = daemon->pools.readers,
        .preparation = {handover_prepare, handover_forget, daemon->handover},
        .planners = daemon->pools.planners,
        .loads = daemon->loads,
        .waits = daemon->waits,
        .monitor = daemon->monitor,
        .events = daemon->events,
        .pressure = sampling_pressure(daemon->sampling),
        .holes = trimming_holes(sampling_trimming(daemon->sampling)),
        .history = daemon->history,
        .metrics = daemon->metrics,
        .on_full = daemon->config->on_full,
        .on_pressure = on_pressure_name(daemon->config->on_pressure),
        .started_usec = clock_monotonic_usec(),
        .pid = getpid(),
    };
    if ((r = manager_begin(&daemon->manager)) < 0)
        return log_failure("cannot make an event loop", r);
    daemon->interfaces[0] = (struct interface){
        .name = MANAGER_INTERFACE,
        .description = manager_interface_text,
        .methods = manager_methods,
        .context = &daemon->manager,
    };
    r = server_new(daemon->base, daemon->interfaces, &server_info, &daemon->server);
    if (r < 0)
        return log_failure("cannot make a server", r);
    server_on_adopted_end(daemon->server, on_last_user_gone, daemon);
    server_count_unread(daemon->server, &daemon->manager.memory_gate.free_used_bytes);
    daemon->manager.server = daemon->server;
    scheduler_set_observer(daemon->scheduler, on_scheduler, daemon);
    scheduler_on_dispose(daemon->scheduler, disposal_of_model, daemon->pools.closers);
    return 0;
}

/* Adds an event, which take_down frees. `after` may be NULL. Returns NULL when out of memory. */
static struct event *watch(struct daemon *daemon, int fd, short what, event_callback_fn callback,
                           void *context, const struct timeval *after)
{
    struct event *event = event_new(daemon->base, fd, what, callback, context);
    if (event && event_add(event, after) < 0) {
        event_free(event);
        return NULL;
    }
    if (event)
        daemon->watched[daemon->n_watched++] = event;
    return event;
}

static int build_events(struct daemon *daemon)
{
    enum { SIGNAL = EV_SIGNAL | EV_PERSIST };
    struct timeval interval = clock_timeval(service_manager_watchdog_interval_usec());

    daemon->grace_timer = (struct grace_timer){.grace = handover_grace(daemon->handover),
                                               .backing = daemon->backing,
                                               .started_usec = daemon->manager.started_usec};
    if (grace_timer_start(&daemon->grace_timer, daemon->base, daemon->config->lease_grace_usec) <
            0 ||
        pools_watch(&daemon->pools, daemon->base) < 0 ||
        !watch(daemon, SIGTERM, SIGNAL, on_terminate, daemon, NULL) ||
        !watch(daemon, SIGINT, SIGNAL, on_terminate, daemon, NULL) ||
        !watch(daemon, SIGHUP, SIGNAL, on_reload, daemon, NULL) ||
        (evutil_timerisset(&interval) &&
         !watch(daemon, -1, EV_PERSIST, on_watchdog, daemon, &interval)))
        return log_failure("cannot watch for events", -ENOMEM);
    return 0;
}

static int build(struct daemon *daemon)
{
    int r;
    if ((r = take_passed(daemon)) < 0 || (r = build_memory(daemon)) < 0 ||
        (r = build_server(daemon)) < 0 || (r = build_events(daemon)) < 0 ||
        (r = sockets_open(&daemon->sockets, daemon->server, daemon->config->socket,
                          daemon->config->socket_group, &daemon->rules.member_gid)) < 0 ||
        (r = reload_first(&daemon->reload, daemon->pools.readers)) < 0 ||
        (r = scrapes_start(daemon->config, &daemon->manager, daemon->rules.member_gid,
                           &daemon->scrapes)) < 0)
        return r;
    return sampling_first(daemon->sampling);
}

static void take_down(struct daemon *daemon, int status)
{
    /* The leases end now, but the ledger must keep them for the next process. */
    if (daemon->scheduler)
        scheduler_set_observer(daemon->scheduler, NULL, NULL);
    reload_stop(&daemon->reload);
    daemon->manager.events = NULL; /* the clients' views do not end */
    sockets_done(&daemon->sockets);
    scrapes_free(daemon->scrapes);
    server_free(daemon->server); /* cancels the calls, which cancels their loads */
    orphans_done(&daemon->manager.orphans);
    sampling_stop(daemon->sampling);
    if (pools_end(&daemon->pools) < 0) { /* reports the jobs that were in flight */
        if (daemon->leaves_nothing && daemon->backing)
            backing_discard(daemon->backing);
        pools_leave(status);
    }
    grace_timer_stop(&daemon->grace_timer);
    while (daemon->n_watched > 0)
        event_free(daemon->watched[--daemon->n_watched]);
    sampling_free(daemon->sampling);
    waits_free(daemon->waits);
    load_portions_free(daemon->portions);
    events_free(daemon->events);
    manager_end(&daemon->manager);
    if (daemon->base)
        event_base_free(daemon->base);
    load_requests_free(daemon->loads);
    loader_free(daemon->loader);
    scheduler_free(daemon->scheduler);
    handover_free(daemon->handover);
    history_free(daemon->history);
    metrics_free(daemon->metrics);
    monitor_free(daemon->monitor);
    if (daemon->leaves_nothing && daemon->backing)
        backing_discard(daemon->backing);
    backing_free(daemon->backing);
    if (pools_end_closers(&daemon->pools) < 0)
        pools_leave(status);
    libevent_global_shutdown();
}

int daemon_run(struct config *config, int argc, char **argv)
{
    struct daemon daemon = {
        .config = config,
        .rules = {(gid_t)-1, (gid_t)-1},
        .reload = {config, argc, argv, .hooks = {apply_config, on_reloaded, &daemon}}};
    int r = build(&daemon);
    if (r == 0) {
        tell_status(&daemon);
        r = service_manager_ready(daemon.status);
        if (r < 0)
            log_failure("cannot tell the service manager that the daemon is ready", r);
    }
    if (r == 0) {
        log_info("ready: %s", daemon.status);
        (void)thread_be_prompt(); /* because loaders are */
        event_base_dispatch(daemon.base);
        service_manager_stopping();
        /* If no process takes the arena over, its memory must be released now: a client that keeps
         * its mapping would keep the memory of the whole arena. */
        daemon.leaves_nothing = !service_manager_will_restart();
    }
    int status = r == 0 ? EXIT_SUCCESS : r == -EINVAL || r == -E2BIG ? EXIT_NEVER : EXIT_FAILURE;
    take_down(&daemon, status);
    return status;
}
