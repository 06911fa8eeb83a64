/* Owns the loads, and which layer each waits for. A load requests one layer at a time, so that the
 * scheduler decides in execution order. Several loads may wait for the same fill.
 *
 * Invariant: for each layer that is loading, some load waits for it, or it is read ahead, or its
 * fill was asked to stop. A load that makes room in portions waits for no layer meanwhile. */
#include "daemon/weights/load_request.h"

#include "common/clock.h"
#include "common/log.h"
#include "daemon/weights/load_failures.h"
#include "daemon/weights/load_rate.h"

#include <errno.h>

struct load_request {
    struct load_requests *loads;
    struct load_request *next;
    struct requester requester;
    struct load_layers layers;
    uint32_t n_done;
    enum on_full on_full;
    struct load_hooks hooks;
    void *context;
    struct load_progress progress;
    struct layer *waiting_for; /* the layer whose fill it waits for, or NULL */
    uint64_t portion; /* the number of the portion that it evicted last; 0: makes no room */
    struct room room; /* that it has made for its next layer */
    bool reserved;    /* its own request began the load of that layer */
    bool woken;       /* the fill has ended with fill_error */
    int fill_error;
};

struct load_requests {
    struct scheduler *scheduler;
    struct loader *loader;
    struct load_request *first;
    void (*later)(void *context); /* NULL: portions are evicted one after the other */
    void *later_context;
    uint64_t n_portions;
    struct load_rate rate;
};

/* While a load makes room, no layer of its model may be loading that would keep the model. */
static void set_portion(struct load_request *load, uint64_t portion)
{
    if (load->portion == 0 && portion > 0)
        scheduler_hold_model(load->layers.model);
    if (load->portion > 0 && portion == 0)
        scheduler_let_go_of_model(load->layers.model);
    load->portion = portion;
}

static void load_unlink(struct load_request *load)
{
    set_portion(load, 0);
    struct load_request **link = &load->loads->first;
    while (*link != load)
        link = &(*link)->next;
    *link = load->next;
}

static void load_end(struct load_request *load, const struct load_end *end)
{
    load_unlink(load);
    load->hooks.ended(&load->progress, end, load->context);
    free(load);
}

static struct layer *layer_at(const struct load_layers *layers, uint32_t i)
{
    return layers->chosen ? layers->chosen[i] : &layers->model->layers[layers->first + i];
}

static void load_layer_done(struct load_request *load, struct layer *layer)
{
    load->n_done++;
    load->progress.layers_done++;
    load->progress.bytes_done += layer_definition(layer)->bytes;
    if (load->hooks.progress)
        load->hooks.progress(&load->progress, layer, load->context);
}

static enum error refusal_of(enum decision decision)
{
    switch (decision) {
    case DECISION_OUT_OF_MEMORY:
        return ERROR_OUT_OF_MEMORY;
    case DECISION_MUST_UNLOAD:
        return ERROR_MUST_UNLOAD;
    default:
        return ERROR_BUSY;
    }
}

static int fill(struct load_requests *loads, uid_t uid, struct layer *layer,
                enum fill_urgency urgency);

/* Requests the layer. Returns 0; -ENOMEM; or 1 if the request continues in a later turn. */
static int request(struct load_request *load, struct layer *layer, struct verdict *verdict)
{
    struct load_requests *loads = load->loads;
    uint64_t now_usec = clock_monotonic_usec();
    int r;
    scheduler_set_requester(loads->scheduler, &load->requester);
    if (loads->later)
        r = scheduler_request_in_portions(loads->scheduler, layer, load->on_full, now_usec,
                                          &load->room, verdict);
    else
        r = scheduler_request_whole(loads->scheduler, layer, load->on_full, now_usec, verdict);
    scheduler_set_requester(loads->scheduler, NULL);
    set_portion(load, r > 0 ? ++loads->n_portions : 0);
    if (r > 0)
        loads->later(loads->later_context);
    return r;
}

/* Requests one layer after the other, until it must wait for one. Frees the load at its end. */
static void load_advance(struct load_request *load)
{
    struct load_requests *loads = load->loads;

    while (load->n_done < load->layers.n) {
        struct layer *layer = layer_at(&load->layers, load->n_done);
        _cleanup_(verdict_done) struct verdict verdict = {0};
        int r = request(load, layer, &verdict);
        if (r > 0)
            return;
        if (r < 0) {
            load_end(load, &(struct load_end){.error = r, .layer = layer});
            return;
        }
        if (verdict.decision == DECISION_MUST_UNLOAD)
            load->progress.must_unload++;

        switch (verdict.outcome) {
        case OUTCOME_HIT:
            load->progress.hits++;
            load->progress.ahead += verdict.ahead;
            load_layer_done(load, layer);
            continue;
        case OUTCOME_REFUSED:
            if (verdict.decision == DECISION_BUSY && load->hooks.blocked &&
                load->hooks.blocked(layer, load->context))
                return;
            load_end(load, &(struct load_end){.refusal = refusal_of(verdict.decision),
                                              .layer = layer,
                                              .verdict = &verdict});
            return;
        case OUTCOME_RESERVED:
            load->progress.evicted += verdict.victims.n_layers;
            load->progress.flushed += verdict.flushed;
            r = fill(loads, load->requester.uid, layer,
                     load->hooks.is_prompt ? FILL_PROMPT : FILL_ORDINARY);
            if (r < 0) {
                load_end(load, &(struct load_end){.error = r, .layer = layer});
                return;
            }
            break;
        case OUTCOME_LOADING:
            if (layer->given_up) {
                load_end(load, &(struct load_end){.error = -ETIMEDOUT, .layer = layer});
                return;
            }
            loader_hurry(layer);
            load->progress.ahead += verdict.ahead;
            break;
        }
        load->waiting_for = layer;
        load->reserved = verdict.outcome == OUTCOME_RESERVED;
        if (load->hooks.waiting)
            load->hooks.waiting(load->context);
        return;
    }
    load_end(load, &(struct load_end){.error = 0});
}

static void load_wake(struct load_request *load)
{
    struct layer *layer = TAKE_PTR(load->waiting_for);
    load->woken = false;

    if (load->fill_error < 0 && load->fill_error != -ECANCELED) {
        load_end(load, &(struct load_end){.error = load->fill_error, .layer = layer});
        return;
    }
    if (load->fill_error == 0) {
        load->progress.loaded += load->reserved;
        load->progress.hits += !load->reserved;
        load_layer_done(load, layer);
    }
    load_advance(load); /* if another client cancelled the fill, requests the layer again */
}

static void fill_done(struct layer *layer, int error, void *context);
static void given_up(struct layer *layer, void *context);

static int fill(struct load_requests *loads, uid_t uid, struct layer *layer,
                enum fill_urgency urgency)
{
    uint64_t now_usec = clock_monotonic_usec();
    int r = loader_fill(loads->loader, layer, uid, urgency, fill_done, loads);
    if (r < 0)
        scheduler_abandon(loads->scheduler, layer);
    else
        load_rate_begin(&loads->rate, now_usec);
    return r;
}

uint64_t load_requests_bytes_per_sec(const struct load_requests *loads)
{
    return load_rate_bytes_per_sec(&loads->rate);
}

/* Continues every load that waits for the layer. */
static void wake_waiting(struct load_requests *loads, const struct layer *layer, int error)
{
    for (struct load_request *load = loads->first; load; load = load->next) {
        if (load->waiting_for == layer) {
            load->woken = true;
            load->fill_error = error;
        }
    }
    /* Waking a load may add or remove others, so start over after each. */
    for (struct load_request *load = loads->first; load;) {
        if (load->woken) {
            load_wake(load);
            load = loads->first;
        } else {
            load = load->next;
        }
    }
}

static void given_up(struct layer *layer, void *context)
{
    struct load_requests *loads = context;
    log_warn("%s/%s: its file has not answered for %d s: the load is given up",
             layer->model->definition->name, layer_definition(layer)->name,
             WORKERS_ABANDON_USEC / 1000000);
    load_rate_end(&loads->rate, 0, clock_monotonic_usec());
    wake_waiting(loads, layer, -ETIMEDOUT);
}

static void fill_done(struct layer *layer, int error, void *context)
{
    struct load_requests *loads = context;
    uint64_t now_usec = clock_monotonic_usec();

    if (!layer->given_up)
        load_rate_end(&loads->rate, error == 0 ? layer_definition(layer)->bytes : 0, now_usec);
    layer->given_up = false;
    load_failures_note(layer, error, now_usec);
    if (error == 0)
        scheduler_complete(loads->scheduler, layer, now_usec);
    else
        scheduler_abandon(loads->scheduler, layer);
    wake_waiting(loads, layer, error);
}

/* The load that has waited longest for its next portion, or NULL. */
static struct load_request *find_next_portion(const struct load_requests *loads)
{
    struct load_request *found = NULL;
    for (struct load_request *load = loads->first; load; load = load->next)
        if (load->portion > 0 && (!found || load->portion < found->portion))
            found = load;
    return found;
}

void load_requests_go_on(struct load_requests *loads)
{
    struct load_request *load = find_next_portion(loads);
    if (load)
        load_advance(load);
    if (find_next_portion(loads))
        loads->later(loads->later_context);
}

void load_requests_on_later(struct load_requests *loads, void (*later)(void *context),
                            void *context)
{
    loads->later = later;
    loads->later_context = context;
}

int load_requests_new(struct scheduler *scheduler, struct loader *loader,
                      struct load_requests **ret)
{
    struct load_requests *loads = calloc(1, sizeof(*loads));
    if (!loads)
        return -ENOMEM;
    loads->scheduler = scheduler;
    loads->loader = loader;
    loader_on_given_up(loader, given_up, loads);
    *ret = loads;
    return 0;
}

struct load_requests *load_requests_free(struct load_requests *loads)
{
    free(loads);
    return NULL;
}

int load_request_start(struct load_requests *loads, const struct requester *requester,
                       const struct load_layers *layers, enum on_full on_full,
                       const struct load_hooks *hooks, void *context, struct load_request **ret)
{
    struct load_request *load = calloc(1, sizeof(*load));
    if (!load)
        return -ENOMEM;

    *load = (struct load_request){
        .loads = loads,
        .next = loads->first,
        .requester = *requester,
        .layers = *layers,
        .on_full = on_full,
        .hooks = *hooks,
        .context = context,
        .progress.layers_total = layers->n,
    };
    for (uint32_t i = 0; i < layers->n; i++)
        load->progress.bytes_total += layer_definition(layer_at(layers, i))->bytes;
    loads->first = load;
    *ret = load; /* before any hook runs, because the `ended` hook may clear it */
    load_advance(load);
    return 0;
}

void load_request_resume(struct load_request *load)
{
    load_advance(load);
}

void load_requests_read_ahead(struct load_requests *loads, const struct requester *requester,
                              struct run *run)
{
    enum fill_urgency urgency = run_is_loading(run) ? FILL_BEHIND : FILL_ORDINARY;
    struct layer *layer;
    int r;

    do {
        scheduler_set_requester(loads->scheduler, requester);
        r = scheduler_read_ahead(loads->scheduler, run, &layer);
        scheduler_set_requester(loads->scheduler, NULL);
        if (r == 0 && layer)
            r = fill(loads, requester->uid, layer, urgency);
        urgency = FILL_BEHIND;
    } while (r == 0 && layer);
}

bool load_requests_read_layer_ahead(struct load_requests *loads, const struct requester *requester,
                                    struct layer *layer)
{
    scheduler_set_requester(loads->scheduler, requester);
    int r = scheduler_read_layer_ahead(loads->scheduler, layer);
    scheduler_set_requester(loads->scheduler, NULL);
    return r > 0 && fill(loads, requester->uid, layer, FILL_PROMPT) == 0;
}

void load_request_get_progress(const struct load_request *load, struct load_progress *ret,
                               const struct layer **ret_layer)
{
    *ret = load->progress;
    if (load->waiting_for)
        ret->bytes_done += loader_progress_bytes(load->waiting_for);
    *ret_layer = load->waiting_for;
}

void load_request_cancel(struct load_request *load)
{
    struct load_requests *loads = load->loads;
    struct layer *layer = load->waiting_for;

    load_unlink(load);
    free(load);

    for (const struct load_request *other = loads->first; other; other = other->next)
        if (other->waiting_for == layer)
            return;
    if (layer && layer->fill)
        loader_cancel(loads->loader, layer);
}
