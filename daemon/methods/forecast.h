/* Forecasts what it would do to load a model, and to run through it. It uses the scheduler's own
 * code on a copy of the scheduler's state. Any thread; the time grows with the model's layers and
 * the passes. */
#pragma once

#include "daemon/scheduler/planner.h"

enum {
    FORECAST_STEPS_MAX = 1000, /* steps that are kept; the others are only counted */
    FORECAST_PASSES_MAX = 1000
};

struct forecast_request {
    const struct policy *policy;
    enum on_full on_full;
    uint64_t n_passes;
    struct rehearsal_rates rates;
    int (*go_on)(void *context); /* called before each layer; a negative errno ends the forecast */
    void *context;
};

struct forecast_step {
    const char *layer, *decision;
    bool hit;
    uint64_t bytes, n_victims, victim_bytes;
};

struct forecast_pass {
    struct pass pass;
    uint64_t usec; /* UINT64_MAX: unknown */
};

enum forecast_end {
    FORECAST_MADE,
    FORECAST_BUSY,   /* the model cannot replace the registered one */
    FORECAST_REFUSED /* the model cannot be registered */
};

/* Names are borrowed from the snapshot's definitions and the model's own. */
struct forecast {
    enum forecast_end end;
    struct model_refusal refusal;
    const char *model, *policy;
    uint64_t capacity_bytes;
    struct forecast_step *steps;  /* the first n_kept of n_steps; owned */
    struct forecast_pass *passes; /* owned */
    uint64_t n_kept, n_steps, n_passes, n_resident;
    struct scheduler_stats stats;
    struct rehearsal_rates rates; /* UINT64_MAX: unknown, or no pass was asked for */
};

/* Makes a forecast of the snapshot's model `name`, or, if `name` is NULL, of `definition`, which
 * then replaces a model with its name. Returns 0 with a forecast that the caller releases with
 * forecast_done; -ENOMEM; or the error that go_on returned. */
int forecast_make(const struct scheduler_snapshot *snapshot, const char *name,
                  struct definition *definition, const struct forecast_request *request,
                  struct forecast *ret);
void forecast_done(struct forecast *forecast);
