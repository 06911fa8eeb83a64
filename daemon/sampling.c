#include "daemon/sampling.h"

#include "common/clock.h"
#include "daemon/monitor/pressure_source.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>

struct sampling {
    struct sampling_parts parts;
    struct pressure_source source;
    struct pressure pressure;
    struct deleted_files deleted_files;
    struct event *timer;
    struct trimming *trimming;
};

/* Tests let the daemon read files of their own in place of the kernel's: those of
 * $EDGEMIND_TEST_PRESSURE/proc and $EDGEMIND_TEST_PRESSURE/cgroup. It then waits a tenth of the
 * usual time. */
static int open_source(struct pressure_source *source, uint64_t *ret_quiet_usec)
{
    const char *root = secure_getenv("EDGEMIND_TEST_PRESSURE");
    char proc[PATH_MAX], cgroups[PATH_MAX];

    *ret_quiet_usec = root ? PRESSURE_QUIET_USEC / 10 : PRESSURE_QUIET_USEC;
    if (!root)
        return pressure_source_open(source, "/proc", "/sys/fs/cgroup");
    int n = snprintf(proc, sizeof proc, "%s/proc", root);
    int m = snprintf(cgroups, sizeof cgroups, "%s/cgroup", root);
    if ((size_t)n >= sizeof proc || (size_t)m >= sizeof cgroups)
        return -ENAMETOOLONG;
    return pressure_source_open(source, proc, cgroups);
}

static void note_pressure(struct sampling *sampling)
{
    struct pressure_reading reading;
    int r = pressure_source_read(&sampling->source, &reading);

    if (r < 0)
        log_warn("cannot find out whether memory is short: %s", strerror(-r));
    else if (pressure_note(&sampling->pressure, &reading))
        events_on_pressure(sampling->parts.trimming.events, &sampling->pressure);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct sampling *sampling = context;
    struct sampling_parts *parts = &sampling->parts;
    (void)fd;
    (void)what;

    int r = monitor_sample(parts->monitor);
    if (r < 0)
        log_warn("cannot sample memory: %s", strerror(-r));
    events_on_sample(sampling->parts.trimming.events, monitor_last(parts->monitor));
    note_pressure(sampling);
    deleted_files_look(&sampling->deleted_files, parts->trimming.scheduler,
                       sampling->parts.trimming.events);
    trimming_on_sample(sampling->trimming);
    parts->sampled(parts->context);
}

int sampling_new(struct event_base *base, const struct sampling_parts *parts, struct sampling **ret)
{
    struct sampling *sampling = calloc(1, sizeof *sampling);
    if (!sampling)
        return -ENOMEM;
    sampling->parts = *parts;
    sampling->parts.trimming.pressure = &sampling->pressure;
    int r = open_source(&sampling->source, &sampling->pressure.quiet_usec);
    if (r < 0) {
        free(sampling);
        return r;
    }
    if (!(sampling->timer = event_new(base, -1, EV_PERSIST, on_timer, sampling)))
        r = -ENOMEM;
    if (r == 0)
        r = trimming_new(base, &sampling->parts.trimming, &sampling->trimming);
    if (r < 0) {
        sampling_free(sampling);
        return r;
    }
    if (!pressure_source_has_stalls(&sampling->source))
        log_notice("the kernel does not measure stalls for want of memory, so whether memory is "
                   "short is judged by MemAvailable and refaults; Raspberry Pi OS measures them if "
                   "psi=1 is on the kernel's command line");
    *ret = sampling;
    return 0;
}

void sampling_stop(struct sampling *sampling)
{
    if (!sampling)
        return;
    if (sampling->timer)
        event_free(sampling->timer);
    sampling->timer = NULL;
    trimming_stop(sampling->trimming);
}

struct sampling *sampling_free(struct sampling *sampling)
{
    if (!sampling)
        return NULL;
    sampling_stop(sampling);
    trimming_free(sampling->trimming);
    pressure_source_close(&sampling->source);
    free(sampling);
    return NULL;
}

int sampling_first(struct sampling *sampling)
{
    int r = monitor_sample(sampling->parts.monitor);
    if (r < 0)
        return log_failure("cannot sample memory", r);
    events_on_sample(sampling->parts.trimming.events, monitor_last(sampling->parts.monitor));
    note_pressure(sampling);
    return 0;
}

int sampling_set_interval(struct sampling *sampling, uint64_t interval_usec)
{
    struct timeval interval = clock_timeval(interval_usec);
    return event_add(sampling->timer, &interval) < 0 ? -ENOMEM : 0;
}

struct trimming *sampling_trimming(const struct sampling *sampling)
{
    return sampling->trimming;
}

const struct pressure *sampling_pressure(const struct sampling *sampling)
{
    return &sampling->pressure;
}
