/* Owns when memory is given back and taken again, and what is told about it. Leaves to holes which
 * pages they are, and to the scheduler which layers nobody uses.
 *
 * The layers are evicted in portions, one in each turn of the loop, as for other reasons. */
#include "daemon/trimming.h"

#include "common/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>

struct trimming {
    struct trimming_parts parts;
    struct holes *holes; /* NULL: simulated */
    struct event *next;  /* the next portion */
    struct trim_walk walk;
    bool is_on, is_evicting;
    bool is_delay_told;   /* that memory cannot be taken */
    bool is_trimmed_told; /* and not yet that it was taken again */
    uint64_t started_usec, retry_usec;
    struct holes_stats told; /* what the events have told so far */
    uint64_t told_layers;
};

static bool is_wanted(const struct trimming *trimming)
{
    return trimming->is_on && trimming->parts.pressure->cause != PRESSURE_NONE;
}

static uint64_t quiet_usec(const struct trimming *trimming)
{
    return trimming->parts.pressure->quiet_usec;
}

static void tell_trimmed(struct trimming *trimming)
{
    struct holes_stats stats = holes_stats(trimming->holes);
    struct scheduler_stats scheduler;
    scheduler_get_stats(trimming->parts.scheduler, &scheduler);
    struct trim_report report = {
        .n_layers = scheduler.trimmed - trimming->told_layers,
        .bytes = stats.given_bytes - trimming->told.given_bytes,
        .missing_bytes = stats.bytes,
    };

    if (report.n_layers == 0 && report.bytes == 0)
        return;
    events_on_trimmed(trimming->parts.events, trimming->parts.pressure, &report);
    trimming->told.given_bytes = stats.given_bytes;
    trimming->told_layers = scheduler.trimmed;
    trimming->is_trimmed_told |= report.bytes > 0;
}

static void tell_taken(struct trimming *trimming)
{
    struct holes_stats stats = holes_stats(trimming->holes);
    if (!trimming->is_trimmed_told || stats.bytes > 0)
        return;
    events_on_taken_back(trimming->parts.events, stats.taken_bytes - trimming->told.taken_bytes);
    trimming->told.taken_bytes = stats.taken_bytes;
    trimming->is_trimmed_told = trimming->is_delay_told = false;
}

/* Says once that memory cannot be taken, until it can. */
static void tell_delay(struct trimming *trimming, int error)
{
    if (!trimming->is_delay_told)
        events_on_take_back_delayed(trimming->parts.events, holes_stats(trimming->holes).bytes,
                                    error);
    trimming->is_delay_told = true;
}

static void on_idle(int error, void *context)
{
    struct trimming *trimming = context;

    if (is_wanted(trimming)) {
        if (error < 0)
            log_warn("cannot give memory of the arena back to the system, or take it again for a "
                     "layer: %s",
                     strerror(-error));
        tell_trimmed(trimming);
        return;
    }
    tell_taken(trimming);
    if (error < 0) {
        trimming->retry_usec = clock_monotonic_usec() + quiet_usec(trimming) / TRIMMING_RETRY_PART;
        tell_delay(trimming, error);
    }
}

/* One portion. After the last one the pages are given back. */
static void evict(struct trimming *trimming)
{
    uint64_t since_usec = clock_monotonic_usec() - quiet_usec(trimming) / TRIMMING_IDLE_PART;
    /* When layers of an earlier process were used last is not known. */
    uint64_t before_usec = since_usec > trimming->started_usec ? since_usec : 0;

    trimming->is_evicting =
        is_wanted(trimming) &&
        scheduler_trim_portion(trimming->parts.scheduler, &trimming->walk, before_usec);
    if (trimming->is_evicting) {
        if (event_add(trimming->next, &(struct timeval){0}) < 0)
            event_active(trimming->next, EV_TIMEOUT, 1);
    } else if (is_wanted(trimming) && !holes_give(trimming->holes)) {
        tell_trimmed(trimming);
    }
}

static void on_next(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    evict(context);
}

int trimming_new(struct event_base *base, const struct trimming_parts *parts, struct trimming **ret)
{
    struct trimming *trimming = calloc(1, sizeof *trimming);
    if (!trimming)
        return -ENOMEM;
    *trimming = (struct trimming){.parts = *parts, .started_usec = clock_monotonic_usec()};
    int r = 0;
    if (parts->backing)
        r = holes_new(parts->backing, scheduler_arena(parts->scheduler), parts->workers,
                      &trimming->holes);
    if (r == 0 && !(trimming->next = event_new(base, -1, 0, on_next, trimming)))
        r = -ENOMEM;
    if (r < 0) {
        trimming_free(trimming);
        return r;
    }
    if (trimming->holes) {
        holes_on_idle(trimming->holes, on_idle, trimming);
        loader_set_holes(parts->loader, trimming->holes);
        trimming->is_trimmed_told = holes_stats(trimming->holes).bytes > 0;
    }
    *ret = trimming;
    return 0;
}

void trimming_stop(struct trimming *trimming)
{
    if (!trimming)
        return;
    if (trimming->next)
        event_free(trimming->next);
    trimming->next = NULL;
    if (trimming->holes)
        holes_stop(trimming->holes);
}

struct trimming *trimming_free(struct trimming *trimming)
{
    if (!trimming)
        return NULL;
    trimming_stop(trimming);
    if (trimming->holes && trimming->parts.loader)
        loader_set_holes(trimming->parts.loader, NULL);
    holes_free(trimming->holes);
    free(trimming);
    return NULL;
}

void trimming_switch(struct trimming *trimming, bool is_on)
{
    trimming->is_on = is_on;
    if (trimming->holes)
        trimming_on_sample(trimming);
}

/* While trimming is on, it waits for the quiet time also after a start. */
static void take_back(struct trimming *trimming)
{
    uint64_t now_usec = clock_monotonic_usec();
    uint64_t room_bytes = pressure_room_bytes(&trimming->parts.pressure->last);

    if (now_usec < trimming->retry_usec ||
        (trimming->is_on && now_usec - trimming->started_usec < quiet_usec(trimming)))
        return;
    if (room_bytes < backing_unit_bytes(trimming->parts.backing))
        tell_delay(trimming, -ENOMEM);
    else
        holes_take(trimming->holes, room_bytes);
}

void trimming_on_sample(struct trimming *trimming)
{
    if (!trimming->holes)
        return;
    if (is_wanted(trimming)) {
        trimming->is_delay_told = false;
        trimming->retry_usec = 0;
        if (!trimming->is_evicting) {
            trimming->walk = (struct trim_walk){0};
            evict(trimming);
        }
    } else if (holes_stats(trimming->holes).bytes > 0) {
        take_back(trimming);
    } else {
        tell_taken(trimming);
    }
}

const struct holes *trimming_holes(const struct trimming *trimming)
{
    return trimming->holes;
}
