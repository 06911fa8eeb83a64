/* History: the daemon's memory of the last hour. */
#include "daemon/methods/manager.h"
#include "daemon/methods/methods.h"

#include "common/clock.h"
#include "daemon/monitor/memory_history.h"

static const struct field point_fields[] = {
    {"atUsec", FIELD_U64, offsetof(struct memory_point, at_usec)},
    {"rssBytes", FIELD_U64, offsetof(struct memory_point, rss_bytes)},
    {"arenaFileBytes", FIELD_U64, offsetof(struct memory_point, arena_bytes)},
    {0},
};

struct history_reply {
    uint64_t step_usec;
    struct field_array points;
};

static const struct field reply_fields[] = {
    {"stepUsec", FIELD_U64, offsetof(struct history_reply, step_usec)},
    {"points", FIELD_OBJECTS, offsetof(struct history_reply, points), 0, point_fields},
    {0},
};

void method_history(struct call *call, void *context)
{
    const struct manager *manager = context;
    struct memory_point points[MEMORY_HISTORY_POINTS];

    if (!call_decode(call, call_no_parameters, NULL))
        return;
    size_t n =
        memory_history_list(monitor_history(manager->monitor), clock_boottime_usec(), points);
    for (size_t i = 0; i < n; i++)
        points[i].at_usec = clock_realtime_of(points[i].at_usec);
    struct history_reply reply = {MEMORY_HISTORY_STEP_USEC, {points, n, sizeof *points}};
    call_reply_fields(call, reply_fields, &reply);
}
