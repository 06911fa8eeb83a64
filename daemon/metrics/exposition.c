#include "daemon/metrics/exposition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct exposition {
    char *text;
    size_t n_bytes; /* may exceed the maximum: then the text is cut */
};

static __attribute__((format(printf, 2, 3))) void put(struct exposition *to, const char *format,
                                                      ...)
{
    size_t room = to->n_bytes < EXPOSITION_BYTES_MAX ? EXPOSITION_BYTES_MAX - to->n_bytes : 0;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(room ? to->text + to->n_bytes : NULL, room, format, arguments);
    va_end(arguments);
    to->n_bytes += n > 0 ? (size_t)n : 0;
}

static void head(struct exposition *to, const char *name, const char *type, const char *help)
{
    put(to, "# HELP edgemind_%s %s\n# TYPE edgemind_%s %s\n", name, help, name, type);
}

static void counter(struct exposition *to, const char *name, uint64_t value, const char *help)
{
    head(to, name, "counter", help);
    put(to, "edgemind_%s %" PRIu64 "\n", name, value);
}

static void gauge(struct exposition *to, const char *name, uint64_t value, const char *help)
{
    head(to, name, "gauge", help);
    put(to, "edgemind_%s %" PRIu64 "\n", name, value);
}

static void real_gauge(struct exposition *to, const char *name, double value, const char *help)
{
    head(to, name, "gauge", help);
    put(to, "edgemind_%s %.6g\n", name, value);
}

/* `label` is empty, or a label with a comma after it. */
static void histogram(struct exposition *to, const char *name, const char *label,
                      const struct histogram *from)
{
    size_t n_label = *label ? strlen(label) - 1 : 0;
    const char *open = n_label ? "{" : "", *close = n_label ? "}" : "";
    uint64_t n = 0;

    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        n += from->counts[i];
        put(to, "edgemind_%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, label,
            (double)histogram_bounds_usec[i] / 1e6, n);
    }
    n += from->counts[HISTOGRAM_BOUNDS];
    put(to, "edgemind_%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, label, n);
    put(to, "edgemind_%s_sum%s%.*s%s %" PRIu64 ".%06" PRIu64 "\n", name, open, (int)n_label, label,
        close, from->sum_usec / 1000000, from->sum_usec % 1000000);
    put(to, "edgemind_%s_count%s%.*s%s %" PRIu64 "\n", name, open, (int)n_label, label, close, n);
}

static void put_scheduler(struct exposition *to, const struct scheduler *scheduler,
                          const struct metrics *metrics, const struct exposition_facts *facts)
{
    struct scheduler_stats stats;
    scheduler_get_stats(scheduler, &stats);

    head(to, "policy_info", "gauge",
         "The eviction policy, and what happens when the arena is full.");
    put(to, "edgemind_policy_info{policy=\"%s\",on_full=\"%s\"} 1\n",
        scheduler_policy(scheduler)->name, facts->on_full);
    head(to, "decisions_total", "counter", "Decisions of the scheduler, by their result.");
    for (unsigned i = 0; i < DECISION_COUNT; i++)
        put(to, "edgemind_decisions_total{decision=\"%s\"} %" PRIu64 "\n", decision_name(i),
            stats.decisions[i]);
    counter(to, "hits_total", stats.hits, "Requests for layers that were in the arena.");
    counter(to, "misses_total", stats.misses, "Requests for layers that were not in the arena.");
    counter(to, "evictions_total", stats.evictions, "Layers that were evicted for other layers.");
    counter(to, "trim_evictions_total", stats.trimmed,
            "Layers that were evicted because memory was short.");
    counter(to, "flushes_total", stats.flushes, "Times that all layers were evicted at once.");
    counter(to, "loads_total", stats.loads, "Layers that were loaded.");
    counter(to, "reloads_total", stats.reloads, "Layers that were loaded again.");
    counter(to, "thrash_total", metrics_n_thrashed(metrics),
            "Loads that began within a minute of the layer's eviction.");
    counter(to, "read_bytes_total", stats.loaded_bytes, "Weights that were loaded.");
    gauge(to, "models", stats.n_models, "Registered models.");
    gauge(to, "layers_resident", stats.layers_resident, "Layers in the arena.");
    gauge(to, "layers_loading", stats.layers_loading, "Layers that are being loaded.");
    gauge(to, "runs", stats.n_runs, "Declared runs through models.");
    gauge(to, "requests_waiting", facts->n_waiting,
          "Requests that wait for other clients' leases.");
    gauge(to, "readers", facts->n_readers, "Connections that hold leases.");
    gauge(to, "leases", facts->n_leases, "Leases that clients hold.");
}

static void put_memory(struct exposition *to, const struct scheduler *scheduler,
                       const struct exposition_facts *facts)
{
    const struct arena *arena = scheduler_arena(scheduler);
    const struct sample *sample = facts->sample;
    uint64_t page_bytes = arena_page_bytes(arena);
    struct arena_stats stats;
    arena_get_stats(arena, &stats);

    gauge(to, "arena_capacity_bytes", stats.capacity_pages * page_bytes, "Size of the arena.");
    gauge(to, "arena_used_bytes", stats.used_pages * page_bytes,
          "Pages of layers that are in the arena or being loaded.");
    gauge(to, "arena_committed_bytes", facts->committed_bytes,
          "Pages of the arena that have memory, according to the ledger.");
    gauge(to, "lent_bytes", scheduler_pinned_pages(scheduler) * page_bytes,
          "Pages of layers that clients hold.");
    gauge(to, "memory_rss_bytes", sample->rss_bytes,
          "Resident memory of the daemon, according to the operating system.");
    gauge(to, "memory_peak_rss_bytes", sample->peak_rss_bytes, "The most that it ever was.");
    gauge(to, "memory_overhead_bytes", sample->overhead_bytes, "Resident memory beside the arena.");
    gauge(to, "memory_overhead_limit_bytes", facts->overhead_limit_bytes,
          "Overhead at which new models are refused.");
    head(to, "memory_drift_bytes", "gauge",
         "Pages of the arena's file, less what the ledger says; 0 if they agree.");
    put(to, "edgemind_memory_drift_bytes %" PRId64 "\n", sample->drift_bytes);
    gauge(to, "memory_aligned", sample->aligned,
          "1 if the operating system agrees with the ledger.");
    gauge(to, "memory_swap_bytes", sample->swap_bytes + sample->arena_swapped_bytes,
          "Memory of the daemon and the arena that is swapped out.");
    gauge(to, "system_available_bytes", sample->available_bytes,
          "Memory of the system that is available.");
    if (sample->pressure_avg10 >= 0)
        real_gauge(to, "system_memory_pressure_ratio", sample->pressure_avg10 / 100,
                   "Share of the last 10 s in which some task waited for memory.");
    gauge(to, "memory_pressure", facts->pressure->cause != PRESSURE_NONE,
          "1 while memory is short.");
    counter(to, "memory_pressure_periods_total", facts->pressure->n_began,
            "Times that memory became short.");
    gauge(to, "arena_trimmed_bytes", facts->holes.bytes,
          "Memory of the arena that is given back to the system while memory is short.");
    counter(to, "trim_given_bytes_total", facts->holes.given_bytes,
            "Memory of the arena that was given back.");
    counter(to, "trim_taken_bytes_total", facts->holes.taken_bytes,
            "Memory of the arena that was taken again.");
    if (facts->pressure->last.own_stalled_percent >= 0)
        real_gauge(to, "cgroup_memory_pressure_ratio",
                   facts->pressure->last.own_stalled_percent / 100,
                   "The same share of the daemon's cgroup.");
    real_gauge(to, "cpu_ratio", sample->cpu_percent / 100,
               "Share of one core that the daemon uses.");
    head(to, "memory_sampled_timestamp_seconds", "gauge", "When these figures were read.");
    put(to, "edgemind_memory_sampled_timestamp_seconds %" PRIu64 ".%06" PRIu64 "\n",
        sample->sampled_at_usec / 1000000, sample->sampled_at_usec % 1000000);
}

static void put_control(struct exposition *to, const struct metrics *metrics,
                        const struct exposition_facts *facts)
{
    head(to, "build_info", "gauge", "The daemon's version.");
    put(to, "edgemind_build_info{version=\"%s\"} 1\n", facts->version);
    head(to, "start_time_seconds", "gauge", "When the daemon started.");
    put(to, "edgemind_start_time_seconds %" PRIu64 ".%06" PRIu64 "\n",
        facts->started_usec / 1000000, facts->started_usec % 1000000);
    gauge(to, "connections", facts->server.n_connections, "Open connections.");
    counter(to, "connections_refused_total", facts->server.n_refused,
            "Connections that were refused, because there was no place for them.");
    counter(to, "calls_total", facts->server.n_requests, "Calls that were received.");
    counter(to, "call_errors_total", facts->server.n_errors, "Calls that got an error.");
    head(to, "call_duration_seconds", "histogram",
         "From a call to its last reply. Deferred replies waited, as for bytes or leases.");
    histogram(to, "call_duration_seconds", "reply=\"immediate\",", facts->immediate_calls);
    histogram(to, "call_duration_seconds", "reply=\"deferred\",", facts->deferred_calls);
    head(to, "fill_duration_seconds", "histogram",
         "From the reservation of a layer's pages until its bytes are in the arena.");
    histogram(to, "fill_duration_seconds", "", metrics_durations(metrics, METRICS_FILL));
    head(to, "fault_duration_seconds", "histogram",
         "From a view's request for a layer that is not in the arena to the reply.");
    histogram(to, "fault_duration_seconds", "", metrics_durations(metrics, METRICS_FAULT));
    head(to, "loop_lag_seconds", "histogram", "How late the event loop calls a timer.");
    histogram(to, "loop_lag_seconds", "", metrics_durations(metrics, METRICS_LOOP_LAG));
}

/* One model's values, or those of all others. */
struct row {
    const char *name; /* as a label has it */
    struct metrics_others values;
};

#define AT(member) offsetof(struct row, values.member)
static const struct {
    const char *name, *type, *help;
    size_t offset;
} model_series[] = {
    {"model_resident_bytes", "gauge", "Weights of the model that are in the arena.",
     AT(resident_bytes)},
    {"model_read_bytes_total", "counter", "Weights of the model that were loaded.",
     AT(stats.loaded_bytes)},
    {"model_hits_total", "counter", "Requests for layers of the model that were in the arena.",
     AT(stats.hits)},
    {"model_misses_total", "counter", "Requests for layers of the model that were not.",
     AT(stats.misses)},
    {"model_evictions_total", "counter", "Layers of the model that were evicted for other layers.",
     AT(stats.evictions)},
    {"model_thrash_total", "counter", "Loads of the model within a minute of the layer's eviction.",
     AT(n_thrashed)},
};
enum { MODEL_SERIES = sizeof model_series / sizeof *model_series };

static void put_models(struct exposition *to, const struct scheduler *scheduler,
                       const struct metrics *metrics)
{
    char names[METRICS_NAMES_BYTES_MAX + METRICS_MODELS_MAX], *end = names;
    struct row rows[METRICS_MODELS_MAX + 1];
    size_t n;
    const struct metrics_model *models = metrics_models(metrics, &n);

    for (size_t i = 0; i < n; i++) {
        rows[i].name = end;
        end = metrics_format_name(models[i].model->definition->name, end) + 1;
        rows[i].values.stats = scheduler_model_stats(scheduler, models[i].model);
        rows[i].values.n_thrashed = models[i].n_thrashed;
        scheduler_model_resident(scheduler, models[i].model, &rows[i].values.resident_bytes);
    }
    rows[n].name = "other";
    if (metrics_others(metrics, &rows[n].values))
        n++;
    for (size_t s = 0; s < MODEL_SERIES && n > 0; s++) {
        head(to, model_series[s].name, model_series[s].type, model_series[s].help);
        for (size_t i = 0; i < n; i++)
            put(to, "edgemind_%s{model=\"%s\"} %" PRIu64 "\n", model_series[s].name, rows[i].name,
                *(const uint64_t *)((const char *)&rows[i] + model_series[s].offset));
    }
}

int exposition_format(const struct scheduler *scheduler, const struct metrics *metrics,
                      const struct exposition_facts *facts, char text[static EXPOSITION_BYTES_MAX])
{
    struct exposition to = {.text = text};

    put_control(&to, metrics, facts);
    put_scheduler(&to, scheduler, metrics, facts);
    put_memory(&to, scheduler, facts);
    put_models(&to, scheduler, metrics);
    return to.n_bytes < EXPOSITION_BYTES_MAX ? (int)to.n_bytes : -EMSGSIZE;
}
