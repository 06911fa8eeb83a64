/* Owns the choice of the models that have series of their own, and the starts of loads.
 *
 * Invariant: the sums over all others are the scheduler's counters, less those of the named models
 * and of named models that are gone. So no event and no scrape has to walk over the others. */
#include "daemon/metrics/metrics.h"

#include "common/clock.h"

#include <errno.h>
#include <string.h>

/* If more layers load at a time, the durations of those beyond are not counted. */
enum { LOADING_MAX = 256 };

struct metrics {
    const struct scheduler *scheduler;
    const struct history *history;
    struct metrics_model models[METRICS_MODELS_MAX];
    size_t n_models, names_bytes;
    bool has_others;
    struct metrics_others gone; /* of named models that are gone, and from before the start */
    uint64_t n_thrashed;
    struct histogram durations[METRICS_DURATIONS];
    struct {
        const struct layer *layer;
        uint64_t begun_usec;
    } loading[LOADING_MAX];
    size_t n_loading;
};

char *metrics_format_name(const char *name, char *text)
{
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            *text++ = '\\';
        *text++ = *name;
    }
    *text = '\0';
    return text;
}

static size_t name_bytes(const struct model *model)
{
    char text[2 * DEFINITION_NAME_MAX + 1];
    return (size_t)(metrics_format_name(model->definition->name, text) - text);
}

static void add_model(struct metrics *metrics, const struct model *model)
{
    size_t n_bytes = name_bytes(model);
    if (metrics->n_models == METRICS_MODELS_MAX || strcmp(model->definition->name, "other") == 0 ||
        metrics->names_bytes + n_bytes > METRICS_NAMES_BYTES_MAX) {
        metrics->has_others = true;
        return;
    }
    metrics->names_bytes += n_bytes;
    metrics->models[metrics->n_models++] = (struct metrics_model){.model = model};
}

static struct metrics_model *find_model(struct metrics *metrics, const struct model *model)
{
    for (size_t i = 0; i < metrics->n_models; i++)
        if (metrics->models[i].model == model)
            return &metrics->models[i];
    return NULL;
}

/* Adding the two's complement subtracts. */
static void add_stats(struct model_stats *sum, const struct model_stats *stats, uint64_t sign)
{
    sum->hits += sign * stats->hits;
    sum->misses += sign * stats->misses;
    sum->evictions += sign * stats->evictions;
    sum->loads += sign * stats->loads;
    sum->reloads += sign * stats->reloads;
    sum->loaded_bytes += sign * stats->loaded_bytes;
}

static void remove_model(struct metrics *metrics, const struct model *model)
{
    struct metrics_model *named = find_model(metrics, model);
    if (!named)
        return;
    struct model_stats stats = scheduler_model_stats(metrics->scheduler, model);
    add_stats(&metrics->gone.stats, &stats, 1);
    metrics->gone.n_thrashed += named->n_thrashed;
    metrics->names_bytes -= name_bytes(model);
    metrics->n_models--;
    memmove(named, named + 1,
            (size_t)(&metrics->models[metrics->n_models] - named) * sizeof *named);
}

static struct metrics_others total(const struct metrics *metrics)
{
    struct scheduler_stats stats;
    scheduler_get_stats(metrics->scheduler, &stats);
    return (struct metrics_others){
        .stats = {stats.hits, stats.misses, stats.evictions, stats.loads, stats.reloads,
                  stats.loaded_bytes},
        .n_thrashed = metrics->n_thrashed,
        .resident_bytes = stats.resident_bytes,
    };
}

int metrics_new(const struct scheduler *scheduler, const struct history *history,
                struct metrics **ret)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return -ENOMEM;
    metrics->scheduler = scheduler;
    metrics->history = history;
    metrics->gone.stats = total(metrics).stats;
    for (const struct model *model = scheduler_first_model(scheduler); model; model = model->next)
        add_model(metrics, model);
    *ret = metrics;
    return 0;
}

struct metrics *metrics_free(struct metrics *metrics)
{
    free(metrics);
    return NULL;
}

static void begin_load(struct metrics *metrics, const struct layer *layer)
{
    uint64_t now_usec = clock_monotonic_usec();
    uint64_t evicted_usec = history_evicted_usec(metrics->history, layer);

    if (evicted_usec > 0 && now_usec - evicted_usec <= METRICS_THRASH_USEC) {
        struct metrics_model *model = find_model(metrics, layer->model);
        metrics->n_thrashed++;
        if (model)
            model->n_thrashed++;
    }
    if (metrics->n_loading == LOADING_MAX)
        return;
    metrics->loading[metrics->n_loading].layer = layer;
    metrics->loading[metrics->n_loading++].begun_usec = now_usec;
}

static void end_load(struct metrics *metrics, const struct layer *layer, bool is_complete)
{
    for (size_t i = 0; i < metrics->n_loading; i++) {
        if (metrics->loading[i].layer != layer)
            continue;
        if (is_complete)
            metrics_add_duration(metrics, METRICS_FILL,
                                 clock_monotonic_usec() - metrics->loading[i].begun_usec);
        metrics->loading[i] = metrics->loading[--metrics->n_loading];
        return;
    }
}

void metrics_on_scheduler(const struct scheduler_event *event, void *context)
{
    switch (event->type) {
    case EVENT_MODEL_ADDED:
        add_model(context, event->model);
        break;
    case EVENT_MODEL_REMOVED:
        remove_model(context, event->model);
        break;
    case EVENT_LAYER_LOADING:
        begin_load(context, event->layer);
        break;
    case EVENT_LAYER_LOADED:
    case EVENT_LAYER_ABANDONED:
        end_load(context, event->layer, event->type == EVENT_LAYER_LOADED);
        break;
    case EVENT_LAYER_EVICTED:
    case EVENT_LAYER_PINNED:
    case EVENT_LAYER_UNPINNED:
    case EVENT_FLUSHED:
    case EVENT_REFUSED:
    case EVENT_POLICY_CHANGED:
        break;
    }
}

void metrics_add_duration(struct metrics *metrics, enum metrics_duration duration, uint64_t usec)
{
    histogram_add(&metrics->durations[duration], usec);
}

const struct histogram *metrics_durations(const struct metrics *metrics,
                                          enum metrics_duration duration)
{
    return &metrics->durations[duration];
}

uint64_t metrics_n_thrashed(const struct metrics *metrics)
{
    return metrics->n_thrashed;
}

const struct metrics_model *metrics_models(const struct metrics *metrics, size_t *ret_n)
{
    *ret_n = metrics->n_models;
    return metrics->models;
}

bool metrics_others(const struct metrics *metrics, struct metrics_others *ret)
{
    struct metrics_others others = total(metrics);

    add_stats(&others.stats, &metrics->gone.stats, UINT64_MAX);
    others.n_thrashed -= metrics->gone.n_thrashed;
    for (size_t i = 0; i < metrics->n_models; i++) {
        const struct metrics_model *named = &metrics->models[i];
        struct model_stats stats = scheduler_model_stats(metrics->scheduler, named->model);
        uint64_t n_bytes;
        add_stats(&others.stats, &stats, UINT64_MAX);
        others.n_thrashed -= named->n_thrashed;
        scheduler_model_resident(metrics->scheduler, named->model, &n_bytes);
        others.resident_bytes -= n_bytes;
    }
    *ret = others;
    return metrics->has_others;
}
