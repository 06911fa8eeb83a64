#include "daemon/monitor/pressure.h"

#include "common/units.h"

#include <stddef.h>
#include <stdio.h>

/* What is bad enough for pressure to begin, and what is enough for it to go on. */
struct thresholds {
    double stalled_percent;
    uint64_t scarce_share, critical_share; /* of the machine's memory, one in so many */
};

static const struct thresholds beginning = {10, 20, 50}, going_on = {2, 10, 20};

enum {
    PLENTY_SHARE = 4, /* with one in so many available, others wait because of their own limits */
    REFAULTS_PER_SEC = 100,
    /* A cgroup is full when less is free below its limit: one in so many, and at most so much. */
    FULL_SHARE = 64,
    FULL_BYTES = 16 << 20,
};

static uint64_t full_bytes(const struct pressure_reading *reading)
{
    uint64_t share = reading->limit_bytes / FULL_SHARE;
    return share < FULL_BYTES ? share : FULL_BYTES;
}

static bool is_scarcer(const struct pressure_reading *reading, uint64_t share)
{
    return reading->available_bytes < reading->total_bytes / share;
}

/* Whether a counter has grown. A counter that was not there before, or went back, has not. */
static uint64_t growth(uint64_t before, uint64_t now)
{
    return before == UINT64_MAX || now == UINT64_MAX || now < before ? 0 : now - before;
}

static bool reads_again(const struct pressure_reading *before, const struct pressure_reading *now)
{
    uint64_t usec = now->at_usec - before->at_usec;
    return before->at_usec > 0 && (double)growth(before->refaults, now->refaults) * 1e6 >=
                                      (double)REFAULTS_PER_SEC * (double)usec;
}

static enum pressure_cause judge(const struct pressure *pressure,
                                 const struct pressure_reading *now)
{
    const struct thresholds *than = pressure->cause ? &going_on : &beginning;
    const struct pressure_reading *before = &pressure->last;

    if (now->own_stalled_percent >= than->stalled_percent)
        return PRESSURE_OWN_STALLS;
    if (before->at_usec > 0 && growth(before->limit_hits, now->limit_hits) > 0 &&
        now->limit_bytes != UINT64_MAX && now->limit_free_bytes < full_bytes(now))
        return PRESSURE_LIMIT;
    if (now->stalled_percent >= 0)
        return now->stalled_percent >= than->stalled_percent && is_scarcer(now, PLENTY_SHARE)
                   ? PRESSURE_STALLS
                   : PRESSURE_NONE;
    if (is_scarcer(now, than->critical_share) ||
        (is_scarcer(now, than->scarce_share) && reads_again(before, now)))
        return PRESSURE_AVAILABLE;
    return PRESSURE_NONE;
}

bool pressure_note(struct pressure *pressure, const struct pressure_reading *reading)
{
    enum pressure_cause cause = judge(pressure, reading);
    bool has_changed = false;

    if (cause) {
        pressure->strained_usec = reading->at_usec;
        if (!pressure->cause) {
            pressure->cause = cause;
            pressure->began_usec = reading->at_usec;
            pressure->n_began++;
            has_changed = true;
        }
    } else if (pressure->cause &&
               reading->at_usec - pressure->strained_usec >= pressure->quiet_usec) {
        pressure->cause = PRESSURE_NONE;
        has_changed = true;
    }
    pressure->last = *reading;
    return has_changed;
}

static uint64_t above(uint64_t bytes, uint64_t reserve_bytes)
{
    return bytes > reserve_bytes ? bytes - reserve_bytes : 0;
}

uint64_t pressure_room_bytes(const struct pressure_reading *reading)
{
    uint64_t room = above(reading->available_bytes, reading->total_bytes / going_on.scarce_share);
    uint64_t cgroup = above(reading->limit_free_bytes, full_bytes(reading));
    return reading->limit_bytes != UINT64_MAX && cgroup < room ? cgroup : room;
}

const char *pressure_cause_name(enum pressure_cause cause)
{
    static const char *const names[] = {
        [PRESSURE_NONE] = NULL,
        [PRESSURE_STALLS] = "stalls",
        [PRESSURE_OWN_STALLS] = "cgroup-stalls",
        [PRESSURE_LIMIT] = "cgroup-limit",
        [PRESSURE_AVAILABLE] = "available",
    };
    return names[cause];
}

const char *pressure_describe(enum pressure_cause cause, const struct pressure_reading *reading,
                              char text[static PRESSURE_TEXT_MAX])
{
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

    switch (cause) {
    case PRESSURE_STALLS:
        snprintf(text, PRESSURE_TEXT_MAX, "tasks waited for memory in %.2f%% of the last 10 s",
                 reading->stalled_percent);
        break;
    case PRESSURE_OWN_STALLS:
        snprintf(text, PRESSURE_TEXT_MAX,
                 "tasks of the daemon's cgroup waited for memory in %.2f%% of the last 10 s",
                 reading->own_stalled_percent);
        break;
    case PRESSURE_LIMIT:
        snprintf(text, PRESSURE_TEXT_MAX,
                 "the daemon's cgroup is at its limit of %s, and only %s could be reclaimed",
                 size_format(reading->limit_bytes, a), size_format(reading->limit_free_bytes, b));
        break;
    case PRESSURE_AVAILABLE:
        snprintf(text, PRESSURE_TEXT_MAX, "only %s of %s of memory are available",
                 size_format(reading->available_bytes, a), size_format(reading->total_bytes, b));
        break;
    case PRESSURE_NONE:
        snprintf(text, PRESSURE_TEXT_MAX, "%s of %s of memory are available",
                 size_format(reading->available_bytes, a), size_format(reading->total_bytes, b));
        break;
    }
    return text;
}
