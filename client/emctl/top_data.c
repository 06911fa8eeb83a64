/* Owns the list of models and the rings. Invariant: each letter of the map belongs to one model. */
#include "client/emctl/top_data.h"

#include "common/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { USEC_PER_SEC = 1000 * 1000, MODELS_MAX = 1 << 16 };

void top_data_done(struct top_data *data)
{
    for (size_t i = 0; i < data->n_models; i++)
        free(data->models[i].name);
    free(data->models);
    *data = (struct top_data){0};
}

void top_data_begin_listing(struct top_data *data)
{
    data->change = 0;
    data->round++;
    data->listing = true;
}

/* The index of the model, or of the place where it belongs. */
static size_t find(const struct top_data *data, const char *name, bool *ret_found)
{
    size_t low = 0, high = data->n_models;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(data->models[middle].name, name);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

static int insert(struct top_data *data, size_t at, const char *name)
{
    if (data->n_models == MODELS_MAX)
        return -EBADMSG;
    char *copy = strdup(name);
    struct top_model *models = reallocarray(data->models, data->n_models + 1, sizeof *data->models);
    if (models)
        data->models = models;
    if (!copy || !models) {
        free(copy);
        return -ENOMEM;
    }
    memmove(models + at + 1, models + at, (data->n_models - at) * sizeof *models);
    models[at] = (struct top_model){.name = copy, .key = '*'};
    data->n_models++;
    return 0;
}

static void remove_model(struct top_data *data, size_t at)
{
    free(data->models[at].name);
    data->n_models--;
    memmove(data->models + at, data->models + at + 1, (data->n_models - at) * sizeof *data->models);
}

/* Gives letters to models that are in the arena, while there are any left. A model keeps its letter
 * until it is gone, or until another one in the arena has none. */
static void give_keys(struct top_data *data)
{
    struct top_model *owners[TOP_KEYS] = {0};

    for (size_t i = 0; i < data->n_models; i++)
        if (data->models[i].key != '*')
            owners[data->models[i].key - 'a'] = &data->models[i];
    for (size_t i = 0, key = 0; i < data->n_models && key < TOP_KEYS; i++) {
        struct top_model *model = &data->models[i];
        if (model->key != '*' || model->resident_bytes + model->loading_bytes == 0)
            continue;
        while (key < TOP_KEYS && owners[key] &&
               owners[key]->resident_bytes + owners[key]->loading_bytes > 0)
            key++;
        if (key == TOP_KEYS)
            break;
        if (owners[key])
            owners[key]->key = '*';
        owners[key] = model;
        model->key = (char)('a' + key);
    }
}

static int take_model(struct top_data *data, json_t *usage)
{
    struct top_model new = {0};
    const char *name;
    bool found;

    if (json_unpack(
            usage, "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s?I}",
            "name", &name, "layers", &new.layers, "residentLayers", &new.resident_layers, "bytes",
            &new.bytes, "residentBytes", &new.resident_bytes, "leasedBytes", &new.leased_bytes,
            "loadingBytes", &new.loading_bytes, "streamedBytes", &new.streamed_bytes, "leases",
            &new.leases, "runs", &new.runs, "hits", &new.hits, "misses", &new.misses, "bytesLoaded",
            &new.loaded_bytes, "passes", &new.passes, "usedAtUsec", &new.used_at_usec) < 0)
        return -EBADMSG;
    size_t at = find(data, name, &found);
    int r = found ? 0 : insert(data, at, name);
    if (r < 0)
        return r;
    struct top_model *model = &data->models[at];
    new.name = model->name;
    new.key = model->key;
    new.round = data->round;
    memcpy(new.passes_before, model->passes_before, sizeof new.passes_before);
    /* A model that is new to us, or that was unloaded and loaded since. */
    if (!found || new.passes < model->passes)
        new.passes_before[0] = new.passes_before[1] = new.passes;
    new.passes_per_minute = model->passes_per_minute;
    *model = new;
    return 0;
}

int top_data_take_usage(struct top_data *data, json_t *reply, bool *ret_more)
{
    json_t *models, *model;
    json_int_t total, change;
    int more, r = 0;
    size_t i;

    if (json_unpack(reply, "{s:o, s:I, s:I, s:b}", "models", &models, "total", &total, "change",
                    &change, "more", &more) < 0 ||
        !json_is_array(models))
        return -EBADMSG;
    json_array_foreach (models, i, model) {
        r = take_model(data, model);
        if (r < 0)
            return r;
    }
    data->change = (uint64_t)change;
    *ret_more = more;
    if (data->listing && !more) {
        data->listing = false;
        for (i = data->n_models; i > 0; i--)
            if (data->models[i - 1].round != data->round)
                remove_model(data, i - 1);
    }
    if (!more && (json_int_t)data->n_models != total)
        top_data_begin_listing(data); /* some are gone; a listing finds out which */
    give_keys(data);
    return 0;
}

/* Every 30 s the number of passes is noted. The rate is since the last note but one. */
static void rate_passes(struct top_data *data, uint64_t now_usec)
{
    enum { MARK_USEC = 30 * USEC_PER_SEC };
    bool mark = now_usec - data->passes_marked_usec >= MARK_USEC;
    double seconds = (double)(now_usec - data->passes_marked_usec) / USEC_PER_SEC;
    bool known = data->passes_marked_usec > 0;

    for (size_t i = 0; i < data->n_models; i++) {
        struct top_model *model = &data->models[i];
        double span = seconds + (double)MARK_USEC / USEC_PER_SEC;
        model->passes_per_minute =
            known ? (double)(model->passes - model->passes_before[0]) * 60 / span : 0;
        if (mark) {
            model->passes_before[0] = model->passes_before[1];
            model->passes_before[1] = model->passes;
        }
    }
    if (mark)
        data->passes_marked_usec = now_usec;
}

static void note_rss(struct top_data *data, json_int_t rss_bytes, uint64_t now_usec)
{
    uint64_t second = now_usec / USEC_PER_SEC;
    json_int_t *now = &data->rss_bytes[second % TOP_SECONDS_MAX];
    json_int_t last =
        data->last_second > 0 ? data->rss_bytes[data->last_second % TOP_SECONDS_MAX] : 0;

    /* Seconds without a frame have the last figure. */
    if (data->last_second > 0 && second - data->last_second < TOP_SECONDS_MAX)
        for (uint64_t s = data->last_second + 1; s < second; s++)
            data->rss_bytes[s % TOP_SECONDS_MAX] = last;
    else if (second != data->last_second)
        memset(data->rss_bytes, 0, sizeof data->rss_bytes);
    if (second != data->last_second || rss_bytes > *now)
        *now = rss_bytes;
    data->last_second = second;
}

void top_data_take_absence(struct top_data *data, uint64_t now_usec)
{
    note_rss(data, 0, now_usec);
}

static void copy_text(char *to, size_t n, const char *text)
{
    snprintf(to, n, "%s", text);
}

int top_data_take_stats(struct top_data *data, json_t *reply, uint64_t now_usec)
{
    struct top_stats *stats = &data->stats;
    const char *version, *policy, *on_full;
    json_t *arena, *scheduler, *monitor, *daemon;

    if (json_unpack(reply, "{s:o, s:o, s:o, s:o}", "arena", &arena, "scheduler", &scheduler,
                    "monitor", &monitor, "daemon", &daemon) < 0 ||
        json_unpack(arena, "{s:I, s:I, s:I}", "capacityBytes", &stats->capacity_bytes, "usedBytes",
                    &stats->used_bytes, "leasedBytes", &stats->leased_bytes) < 0 ||
        json_unpack(scheduler, "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "policy",
                    &policy, "onFull", &on_full, "models", &stats->models, "layersLoaded",
                    &stats->layers_loaded, "layersLoading", &stats->layers_loading, "runs",
                    &stats->runs, "waiting", &stats->waiting, "hits", &stats->hits, "misses",
                    &stats->misses, "evictions", &stats->evictions, "bytesLoaded",
                    &stats->bytes_loaded) < 0 ||
        json_unpack(monitor, "{s:I, s:I, s:I, s:b, s:F}", "rssBytes", &stats->rss_bytes,
                    "swapBytes", &stats->swap_bytes, "overheadBytes", &stats->overhead_bytes,
                    "aligned", &stats->aligned, "cpuPercent", &stats->cpu_percent) < 0 ||
        json_unpack(daemon, "{s:s, s:I, s:I}", "version", &version, "pid", &stats->pid,
                    "uptimeUsec", &stats->uptime_usec) < 0)
        return -EBADMSG;
    copy_text(stats->version, sizeof stats->version, version);
    copy_text(stats->policy, sizeof stats->policy, policy);
    copy_text(stats->on_full, sizeof stats->on_full, on_full);
    const json_t *shortage = json_object_get(reply, "pressure");
    stats->is_short = json_is_true(json_object_get(shortage, "short"));
    stats->trimmed_bytes = json_integer_value(json_object_get(shortage, "trimmedBytes"));
    data->has_stats = true;
    note_rss(data, stats->rss_bytes, now_usec);
    rate_passes(data, now_usec);
    return 0;
}

int top_data_take_views(struct top_data *data, json_t *reply)
{
    json_t *views, *element;
    size_t i;

    if (json_unpack(reply, "{s:o, s:I}", "views", &views, "total", &data->views_total) < 0 ||
        !json_is_array(views))
        return -EBADMSG;
    data->n_views = 0;
    json_array_foreach (views, i, element) {
        struct top_view view;
        const char *program, *model;
        if (data->n_views == TOP_VIEWS_MAX)
            break;
        if (json_unpack(element, "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "program", &program,
                        "model", &model, "pid", &view.pid, "bytes", &view.bytes, "outsideBytes",
                        &view.outside_bytes, "heldBytes", &view.held_bytes, "faults", &view.faults,
                        "hits", &view.hits) < 0)
            return -EBADMSG;
        copy_text(view.program, sizeof view.program, program);
        copy_text(view.model, sizeof view.model, model);
        data->views[data->n_views++] = view;
    }
    return 0;
}

/* The seconds before the first sample have what the daemon kept of them. */
static void fill_chart(struct top_data *data, uint64_t step_usec, uint64_t now_usec)
{
    uint64_t now_second = now_usec / USEC_PER_SEC, clock = clock_realtime_usec();

    for (size_t i = 0; i < data->n_history; i++) {
        const struct top_point *point = &data->history[i];
        uint64_t end = point->at_usec + step_usec;
        for (uint64_t at = point->at_usec; at < end && at < clock; at += USEC_PER_SEC) {
            uint64_t seconds_ago = (clock - at) / USEC_PER_SEC;
            if (seconds_ago > 0 && seconds_ago < TOP_SECONDS_MAX && seconds_ago < now_second)
                data->rss_bytes[(now_second - seconds_ago) % TOP_SECONDS_MAX] = point->rss_bytes;
        }
    }
    data->last_second = now_second;
}

int top_data_take_history(struct top_data *data, json_t *reply, uint64_t now_usec)
{
    json_t *points, *element;
    json_int_t step_usec, at_usec;
    size_t i;

    if (json_unpack(reply, "{s:I, s:o}", "stepUsec", &step_usec, "points", &points) < 0 ||
        step_usec < 0 || step_usec > 3600 * (json_int_t)USEC_PER_SEC || !json_is_array(points) ||
        json_array_size(points) > TOP_HISTORY_MAX)
        return -EBADMSG;
    data->n_history = 0;
    json_array_foreach (points, i, element) {
        struct top_point *point = &data->history[data->n_history];
        if (json_unpack(element, "{s:I, s:I, s:I}", "atUsec", &at_usec, "rssBytes",
                        &point->rss_bytes, "arenaFileBytes", &point->arena_bytes) < 0)
            return -EBADMSG;
        point->at_usec = (uint64_t)at_usec;
        data->n_history++;
    }
    if (data->last_second == 0)
        fill_chart(data, (uint64_t)step_usec, now_usec);
    return 0;
}

static struct top_event *next_event(struct top_data *data)
{
    return &data->events[data->n_events++ % TOP_EVENTS_MAX];
}

int top_data_take_events(struct top_data *data, json_t *reply)
{
    json_t *events, *element;
    json_int_t missed;
    size_t i;

    if (json_unpack(reply, "{s:o, s:I}", "events", &events, "missed", &missed) < 0 ||
        !json_is_array(events))
        return -EBADMSG;
    json_array_foreach (events, i, element) {
        const char *what, *model = NULL, *message = NULL;
        json_int_t at_usec;
        if (json_unpack(element, "{s:s, s:I, s?s, s?s}", "event", &what, "atUsec", &at_usec,
                        "model", &model, "message", &message) < 0)
            return -EBADMSG;
        struct top_event *event = next_event(data);
        event->at_usec = (uint64_t)at_usec;
        copy_text(event->model, sizeof event->model, model ? model : "");
        copy_text(event->text, sizeof event->text, message ? message : what);
    }
    if (missed > 0)
        top_data_note(data, "%" JSON_INTEGER_FORMAT " events came too fast to be shown", missed);
    return 0;
}

void top_data_note(struct top_data *data, const char *format, ...)
{
    struct top_event *event = next_event(data);
    va_list arguments;

    event->at_usec = clock_realtime_usec();
    event->model[0] = '\0';
    va_start(arguments, format);
    vsnprintf(event->text, sizeof event->text, format, arguments);
    va_end(arguments);
}

json_int_t top_data_rss_bytes(const struct top_data *data, uint64_t seconds_ago)
{
    return seconds_ago < TOP_SECONDS_MAX && seconds_ago <= data->last_second
               ? data->rss_bytes[(data->last_second - seconds_ago) % TOP_SECONDS_MAX]
               : 0;
}
