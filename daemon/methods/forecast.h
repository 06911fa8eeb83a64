/* What loading a model would do, and a run through it: the scheduler's own code on a copy of its
 * state. Any thread; it takes as long as the model is large. */
#pragma once

#include "daemon/scheduler/planner.h"

enum {
    FORECAST_STEPS_MAX = 1000, /* that are kept one by one */
    FORECAST_PASSES_MAX = 1000
};

struct forecast_request {
    const struct policy *policy;
    enum on_full on_full;
    uint64_t n_passes;
    struct rehearsal_rates rates;
    int (*go_on)(void *context); /* asked before each layer; a negative errno ends the forecast */
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
    FORECAST_BUSY,   /* the model cannot take the place of the registered one */
    FORECAST_REFUSED /* the model cannot be registered */
};

/* Names are borrowed from the snapshot's definitions and the model's own. */
struct forecast {
    enum forecast_end end;
    struct model_refusal refusal;
    const char *model, *policy;
    uint64_t capacity_bytes;
    struct forecast_step *steps;  /* n_kept of n_steps; owned */
    struct forecast_pass *passes; /* owned */
    uint64_t n_kept, n_steps, n_passes, n_resident;
    struct scheduler_stats stats;
    struct rehearsal_rates rates; /* UINT64_MAX: unknown, or no pass was asked for */
};

/* Of the snapshot's model `name`; or, when that is NULL, of `definition`, which then takes the
 * place of a model of its name. 0 with a forecast to be released by forecast_done; -ENOMEM, or as
 * go_on has it. */
int forecast_make(const struct scheduler_snapshot *snapshot, const char *name,
                  struct definition *definition, const struct forecast_request *request,
                  struct forecast *ret);
void forecast_done(struct forecast *forecast);
