/* Stats and Watch. */
#include "daemon/methods/deleted_files.h"
#include "daemon/methods/manager.h"
#include "daemon/methods/methods.h"

#include "common/clock.h"

struct stats_reply {
    struct {
        uint64_t capacity_bytes, used_bytes, free_bytes, leased_bytes, committed_bytes,
            high_water_bytes, page_bytes, largest_free_bytes, n_extents;
        const char *backing, *commit;
    } arena;
    struct {
        const char *policy, *on_full;
        uint64_t n_waiting, n_deleted_files;
        struct scheduler_stats stats;
    } scheduler;
    struct {
        struct sample sample;
        uint64_t n_samples;
    } monitor;
    struct {
        bool is_short;
        const char *reason;
        uint64_t n_began;
        double own_stalled_percent;
        const char *on_pressure;
        struct holes_stats holes;
    } pressure;
    struct view_totals views;
    struct server_stats control;
    struct {
        const char *version;
        uint64_t pid, uptime_usec;
    } daemon;
};

#define AT(member) offsetof(struct stats_reply, member)

static const struct field arena_fields[] = {
    {"capacityBytes", FIELD_U64, AT(arena.capacity_bytes)},
    {"usedBytes", FIELD_U64, AT(arena.used_bytes)},
    {"freeBytes", FIELD_U64, AT(arena.free_bytes)},
    {"leasedBytes", FIELD_U64, AT(arena.leased_bytes)},
    {"committedBytes", FIELD_U64, AT(arena.committed_bytes)},
    {"highWaterBytes", FIELD_U64, AT(arena.high_water_bytes)},
    {"pageBytes", FIELD_U64, AT(arena.page_bytes)},
    {"largestFreeBytes", FIELD_U64, AT(arena.largest_free_bytes)},
    {"extents", FIELD_U64, AT(arena.n_extents)},
    {"backing", FIELD_STRING, AT(arena.backing)},
    {"commit", FIELD_STRING, AT(arena.commit)},
    {0},
};

static const struct field decision_fields[] = {
    {"loaded", FIELD_U64, AT(scheduler.stats.decisions[DECISION_LOADED])},
    {"mustUnload", FIELD_U64, AT(scheduler.stats.decisions[DECISION_MUST_UNLOAD])},
    {"outOfMemory", FIELD_U64, AT(scheduler.stats.decisions[DECISION_OUT_OF_MEMORY])},
    {"busy", FIELD_U64, AT(scheduler.stats.decisions[DECISION_BUSY])},
    {0},
};

static const struct field scheduler_fields[] = {
    {"policy", FIELD_STRING, AT(scheduler.policy)},
    {"onFull", FIELD_STRING, AT(scheduler.on_full)},
    {"models", FIELD_U64, AT(scheduler.stats.n_models)},
    {"layersLoaded", FIELD_U64, AT(scheduler.stats.layers_resident)},
    {"layersLoading", FIELD_U64, AT(scheduler.stats.layers_loading)},
    {"runs", FIELD_U64, AT(scheduler.stats.n_runs)},
    {"waiting", FIELD_U64, AT(scheduler.n_waiting)},
    {"hits", FIELD_U64, AT(scheduler.stats.hits)},
    {"misses", FIELD_U64, AT(scheduler.stats.misses)},
    {"decisions", FIELD_OBJECT, 0, 0, decision_fields},
    {"evictions", FIELD_U64, AT(scheduler.stats.evictions)},
    {"flushes", FIELD_U64, AT(scheduler.stats.flushes)},
    {"loads", FIELD_U64, AT(scheduler.stats.loads)},
    {"reloads", FIELD_U64, AT(scheduler.stats.reloads)},
    {"bytesLoaded", FIELD_U64, AT(scheduler.stats.loaded_bytes)},
    {"deletedFiles", FIELD_U64, AT(scheduler.n_deleted_files)},
    {0},
};

static const struct field monitor_fields[] = {
    {"rssBytes", FIELD_U64, AT(monitor.sample.rss_bytes)},
    {"rssShmemBytes", FIELD_U64, AT(monitor.sample.rss_shmem_bytes)},
    {"rssAnonBytes", FIELD_U64, AT(monitor.sample.rss_anon_bytes)},
    {"rssFileBytes", FIELD_U64, AT(monitor.sample.rss_file_bytes)},
    {"hugetlbBytes", FIELD_U64, AT(monitor.sample.hugetlb_bytes)},
    {"peakRssBytes", FIELD_U64, AT(monitor.sample.peak_rss_bytes)},
    {"swapBytes", FIELD_U64, AT(monitor.sample.swap_bytes)},
    {"arenaSwappedBytes", FIELD_U64, AT(monitor.sample.arena_swapped_bytes)},
    {"arenaFileBytes", FIELD_U64, AT(monitor.sample.arena_file_bytes)},
    {"overheadBytes", FIELD_U64, AT(monitor.sample.overhead_bytes)},
    {"driftBytes", FIELD_I64, AT(monitor.sample.drift_bytes)},
    {"aligned", FIELD_BOOL, AT(monitor.sample.aligned)},
    {"availableBytes", FIELD_U64, AT(monitor.sample.available_bytes)},
    {"cpuPercent", FIELD_REAL, AT(monitor.sample.cpu_percent)},
    {"pressurePercent", FIELD_REAL, AT(monitor.sample.pressure_avg10), FIELD_NULLABLE},
    {"samples", FIELD_U64, AT(monitor.n_samples)},
    {"sampledAtUsec", FIELD_U64, AT(monitor.sample.sampled_at_usec)},
    {0},
};

static const struct field pressure_fields[] = {
    {"short", FIELD_BOOL, AT(pressure.is_short)},
    {"reason", FIELD_STRING, AT(pressure.reason), FIELD_NULLABLE},
    {"begun", FIELD_U64, AT(pressure.n_began)},
    {"onPressure", FIELD_STRING, AT(pressure.on_pressure)},
    {"trimmedBytes", FIELD_U64, AT(pressure.holes.bytes)},
    {"givenBytes", FIELD_U64, AT(pressure.holes.given_bytes)},
    {"takenBytes", FIELD_U64, AT(pressure.holes.taken_bytes)},
    {"layersTrimmed", FIELD_U64, AT(scheduler.stats.trimmed)},
    {"cgroupPercent", FIELD_REAL, AT(pressure.own_stalled_percent), FIELD_NULLABLE},
    {0},
};

static const struct field view_fields[] = {
    {"count", FIELD_U64, AT(views.n)},
    {"bytes", FIELD_U64, AT(views.bytes)},
    {"outsideBytes", FIELD_U64, AT(views.outside_bytes)},
    {"heldBytes", FIELD_U64, AT(views.held_bytes)},
    {"faults", FIELD_U64, AT(views.n_faults)},
    {"hits", FIELD_U64, AT(views.n_hits)},
    {"readBytes", FIELD_U64, AT(views.read_bytes)},
    {0},
};

static const struct field control_fields[] = {
    {"connections", FIELD_U64, AT(control.n_connections)},
    {"requests", FIELD_U64, AT(control.n_requests)},
    {"errors", FIELD_U64, AT(control.n_errors)},
    {0},
};

static const struct field daemon_fields[] = {
    {"version", FIELD_STRING, AT(daemon.version)},
    {"pid", FIELD_U64, AT(daemon.pid)},
    {"uptimeUsec", FIELD_U64, AT(daemon.uptime_usec)},
    {0},
};

/* Every group is decoded relative to the whole reply: offset 0. */
static const struct field stats_fields[] = {
    {"arena", FIELD_OBJECT, 0, 0, arena_fields},
    {"scheduler", FIELD_OBJECT, 0, 0, scheduler_fields},
    {"monitor", FIELD_OBJECT, 0, 0, monitor_fields},
    {"pressure", FIELD_OBJECT, 0, 0, pressure_fields},
    {"views", FIELD_OBJECT, 0, 0, view_fields},
    {"control", FIELD_OBJECT, 0, 0, control_fields},
    {"daemon", FIELD_OBJECT, 0, 0, daemon_fields},
    {0},
};

static void read_arena(const struct manager *manager, struct stats_reply *reply)
{
    const struct arena *arena = scheduler_arena(manager->scheduler);
    uint64_t page_bytes = arena_page_bytes(arena);
    struct arena_stats stats;
    arena_get_stats(arena, &stats);

    reply->arena.capacity_bytes = stats.capacity_pages * page_bytes;
    reply->arena.used_bytes = stats.used_pages * page_bytes;
    reply->arena.free_bytes = stats.free_pages * page_bytes;
    reply->arena.high_water_bytes = stats.high_water_pages * page_bytes;
    reply->arena.page_bytes = page_bytes;
    reply->arena.largest_free_bytes = stats.largest_free_pages * page_bytes;
    reply->arena.n_extents = stats.n_extents;
    reply->arena.leased_bytes = scheduler_pinned_pages(manager->scheduler) * page_bytes;
    reply->arena.backing = "simulated";
    reply->arena.commit = "load";
    if (manager->backing) {
        reply->arena.committed_bytes = backing_committed_bytes(manager->backing);
        reply->arena.backing = backing_name(manager->backing);
        reply->arena.commit = backing_commit(manager->backing) == COMMIT_BOOT ? "boot" : "load";
    }
}

static uint64_t count_deleted_files(const struct scheduler *scheduler)
{
    uint64_t n = 0;
    for (const struct model *model = scheduler_first_model(scheduler); model; model = model->next)
        n += deleted_files_of(model);
    return n;
}

void method_stats(struct call *call, void *context)
{
    const struct manager *manager = context;
    if (!call_decode(call, call_no_parameters, NULL))
        return;

    struct stats_reply reply = {
        .scheduler.policy = scheduler_policy(manager->scheduler)->name,
        .scheduler.on_full = on_full_name(manager->on_full),
        .scheduler.n_waiting = waits_count(manager->waits),
        .scheduler.n_deleted_files = count_deleted_files(manager->scheduler),
        .monitor.sample = *monitor_last(manager->monitor),
        .monitor.n_samples = monitor_n_samples(manager->monitor),
        .pressure.on_pressure = manager->on_pressure,
        .pressure.is_short = manager->pressure->cause != PRESSURE_NONE,
        .pressure.reason = pressure_cause_name(manager->pressure->cause),
        .pressure.n_began = manager->pressure->n_began,
        .pressure.own_stalled_percent = manager->pressure->last.own_stalled_percent,
        .views = manager->leases.views,
        .daemon.version = EDGEMIND_VERSION,
        .daemon.pid = (uint64_t)manager->pid,
        .daemon.uptime_usec = clock_monotonic_usec() - manager->started_usec,
    };
    if (manager->holes)
        reply.pressure.holes = holes_stats(manager->holes);
    read_arena(manager, &reply);
    scheduler_get_stats(manager->scheduler, &reply.scheduler.stats);
    server_get_stats(manager->server, &reply.control);
    call_reply_fields(call, stats_fields, &reply);
}

void method_watch(struct call *call, void *context)
{
    const struct manager *manager = context;
    if (call_decode(call, call_no_parameters, NULL))
        events_watch(manager->events, call);
}
