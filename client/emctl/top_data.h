/* What emctl top knows of a daemon: the models with their usage, the statistics, the programs'
 * views, the last events, and a minute or more of the daemon's memory.
 *
 * It is fed with the daemon's replies, whose strings must be safe to show. Each function that takes
 * a reply returns 0, -ENOMEM, or -EBADMSG if the interface does not describe such a reply. */
#pragma once

#include "common/units.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOP_EVENTS_MAX = 64,
    TOP_EVENT_TEXT_MAX = 256,
    TOP_VIEWS_MAX = 16,
    TOP_SECONDS_MAX = 1024, /* of the chart */
    TOP_KEYS = 26,
    TOP_HISTORY_MAX = 1000 /* points; a daemon has 360 */
};

struct top_model {
    char *name;
    json_int_t layers, resident_layers, bytes, resident_bytes, leased_bytes, loading_bytes;
    json_int_t streamed_bytes, leases, runs, hits, misses, loaded_bytes, passes;
    json_int_t used_at_usec; /* 0: unknown */
    char key;                /* its letter in the map, 'a' to 'z'; '*' if there are too many */
    uint64_t round;          /* of the last listing that had it */
    json_int_t passes_before[2];
    double passes_per_minute; /* over the last 30 to 60 s */
};

struct top_event {
    uint64_t at_usec;
    char model[TOP_EVENT_TEXT_MAX], text[TOP_EVENT_TEXT_MAX];
};

struct top_view {
    char program[64], model[64];
    json_int_t pid, bytes, outside_bytes, held_bytes, faults, hits;
};

struct top_stats {
    char version[32], policy[32], on_full[32];
    json_int_t pid, uptime_usec, capacity_bytes, used_bytes, leased_bytes, rss_bytes, swap_bytes;
    json_int_t overhead_bytes, models, layers_loaded, layers_loading, runs, waiting, hits, misses;
    json_int_t evictions, bytes_loaded;
    double cpu_percent;
    int aligned;
    json_int_t trimmed_bytes;
    bool is_short; /* memory, of the machine or the daemon's cgroup */
};

/* The daemon's memory at a time of its last hour. */
struct top_point {
    uint64_t at_usec; /* wall clock */
    json_int_t rss_bytes, arena_bytes;
};

struct top_data {
    struct top_model *models; /* sorted by name */
    size_t n_models;
    uint64_t change; /* what the next Usage call passes as `since` */
    uint64_t round;  /* of the present listing */
    bool listing;    /* since top_data_begin_listing */
    struct top_stats stats;
    bool has_stats;
    struct top_view views[TOP_VIEWS_MAX];
    size_t n_views;
    json_int_t views_total;
    struct top_event events[TOP_EVENTS_MAX]; /* a ring; number i is at i % TOP_EVENTS_MAX */
    uint64_t n_events;
    json_int_t rss_bytes[TOP_SECONDS_MAX]; /* a ring by second: the largest of each; 0: unknown */
    uint64_t last_second;                  /* 0: none */
    struct top_point history[TOP_HISTORY_MAX]; /* the oldest first */
    size_t n_history;
    uint64_t passes_marked_usec;
};

void top_data_done(struct top_data *data);

/* There is another daemon, or the same one was away: all models are listed again. Those that are
 * gone disappear when the listing is complete. */
void top_data_begin_listing(struct top_data *data);

/* `ret_more`: the daemon has more changes to tell. */
int top_data_take_usage(struct top_data *data, json_t *reply, bool *ret_more);
/* `now_usec` is monotonic. */
int top_data_take_stats(struct top_data *data, json_t *reply, uint64_t now_usec);
int top_data_take_views(struct top_data *data, json_t *reply);
/* Also fills the seconds of the chart before the first sample. */
int top_data_take_history(struct top_data *data, json_t *reply, uint64_t now_usec);
int top_data_take_events(struct top_data *data, json_t *reply);

/* No daemon answers. */
void top_data_take_absence(struct top_data *data, uint64_t now_usec);

/* Adds an event of emctl's own. */
void top_data_note(struct top_data *data, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The daemon's memory `seconds_ago` before the last sample; 0: unknown. */
json_int_t top_data_rss_bytes(const struct top_data *data, uint64_t seconds_ago);
