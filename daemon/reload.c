/* Owns the order of a reload: all of the new configuration is valid before any of it is applied. */
#include "daemon/reload.h"

#include "common/log.h"
#include "daemon/sockets.h"

#include <stddef.h>
#include <string.h>

static struct reload *reload_of(struct job *job)
{
    return (struct reload *)((char *)job - offsetof(struct reload, job));
}

/* On a worker thread. */
static int load(struct job *job, uint64_t index)
{
    struct reload *reload = reload_of(job);
    enum config_action action;
    (void)index;

    int r = config_load(reload->argc, reload->argv, &reload->next, &action, reload->why);
    if (r < 0)
        return r;
    r = group_find(reload->next.admin_group, "admin-group", &reload->admin_gid, reload->why);
    if (r < 0)
        config_done(&reload->next);
    return r;
}

static int apply(struct reload *reload)
{
    struct config previous = *reload->config;
    bool reloadable;
    unsigned cursor = 0;

    for (const char *name;
         (name = config_next_difference(reload->config, &reload->next, &cursor, &reloadable));)
        if (!reloadable)
            log_warn("%s changed, but takes effect only at the next start", name);
    config_warn(&reload->next);
    *reload->config = reload->next;
    int r = reload->hooks.apply(reload->admin_gid, reload->hooks.context);
    if (r < 0) {
        log_error("the old configuration stays: %s", strerror(-r));
        *reload->config = previous;
    }
    config_done(r < 0 ? &reload->next : &previous);
    return r;
}

int reload_first(struct reload *reload, struct workers *workers)
{
    int r = group_find(reload->config->admin_group, "admin-group", &reload->admin_gid, reload->why);

    reload->workers = workers;
    if (r < 0) {
        log_error("%s", reload->why);
        return r;
    }
    r = reload->hooks.apply(reload->admin_gid, reload->hooks.context);
    return r < 0 ? log_failure("cannot apply the configuration", r) : 0;
}

static void abandoned(struct job *job);
static void loaded(struct job *job, int error);

static void begin(struct reload *reload)
{
    reload->job = (struct job){.n_steps = 1, .step = load, .done = loaded, .abandoned = abandoned};
    reload->is_running = true;
    reload->is_wanted_again = false;
    workers_submit(reload->workers, &reload->job);
}

static void loaded(struct job *job, int error)
{
    struct reload *reload = reload_of(job);
    bool is_too_late = reload->is_hopeless || reload->is_stopped;

    reload->is_running = reload->is_hopeless = false;
    if (is_too_late) {
        if (error == 0)
            config_done(&reload->next);
        return;
    }
    if (error < 0)
        log_error("the old configuration stays: %s", reload->why);
    else
        error = apply(reload);
    if (reload->is_wanted_again)
        begin(reload);
    else
        reload->hooks.ended(error < 0, reload->hooks.context);
}

static void give_up(struct reload *reload)
{
    log_error("the old configuration stays: its file, or the system's list of groups, does not "
              "answer");
    reload->hooks.ended(true, reload->hooks.context);
}

/* The job is left to its thread. What it may still find is of no use. */
static void abandoned(struct job *job)
{
    struct reload *reload = reload_of(job);

    if (reload->is_stopped)
        return;
    reload->is_hopeless = true;
    give_up(reload);
}

void reload_start(struct reload *reload)
{
    if (reload->is_hopeless)
        give_up(reload);
    else if (reload->is_running)
        reload->is_wanted_again = true;
    else
        begin(reload);
}

void reload_stop(struct reload *reload)
{
    reload->is_stopped = true;
}
