/* What the metrics count beside the counters of scheduler and server: durations, loads that came
 * soon after an eviction, and the models that have series of their own.
 *
 * A model keeps its series as long as it is registered. It has some if it was registered while
 * fewer than METRICS_MODELS_MAX models had, and their names left room; all others share the name
 * "other". All of it takes constant time for each event of the scheduler. */
#pragma once

#include "common/histogram.h"
#include "daemon/history/history.h"

enum {
    METRICS_MODELS_MAX = 100,
    METRICS_NAMES_BYTES_MAX = 2048, /* of all their names together, as they are written */
    METRICS_THRASH_USEC = 60 * 1000 * 1000,
};

enum metrics_duration {
    METRICS_FILL,     /* from the reservation of a layer's pages until its bytes are in place */
    METRICS_FAULT,    /* from a view's request for a layer that had to be loaded to the reply */
    METRICS_LOOP_LAG, /* how much later than planned the loop calls a timer */
    METRICS_DURATIONS
};

struct metrics_model {
    const struct model *model;
    uint64_t n_thrashed;
};

struct metrics;

/* Names the models that are registered already. Scheduler and history are borrowed. Returns 0 or
 * -ENOMEM. */
int metrics_new(const struct scheduler *scheduler, const struct history *history,
                struct metrics **ret);
struct metrics *metrics_free(struct metrics *metrics);
DEFINE_CLEANUP(struct metrics *, metrics_free);

/* A scheduler_observer; `context` is the struct metrics. */
void metrics_on_scheduler(const struct scheduler_event *event, void *context);

void metrics_add_duration(struct metrics *metrics, enum metrics_duration duration, uint64_t usec);
const struct histogram *metrics_durations(const struct metrics *metrics,
                                          enum metrics_duration duration);

/* Loads that began within METRICS_THRASH_USEC of the layer's eviction. */
uint64_t metrics_n_thrashed(const struct metrics *metrics);

/* The models with series of their own; borrowed until the next event. */
const struct metrics_model *metrics_models(const struct metrics *metrics, size_t *ret_n);

/* The sums over all other models, also those that are no longer registered. Returns whether there
 * ever were any. */
struct metrics_others {
    struct model_stats stats;
    uint64_t n_thrashed, resident_bytes;
};
bool metrics_others(const struct metrics *metrics, struct metrics_others *ret);

/* Writes a model's name as the value of a label, where some characters take two bytes, and a NUL.
 * Returns the end, which is the NUL. */
char *metrics_format_name(const char *name, char *text);
