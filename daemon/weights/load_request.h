/* One client's request to make layers of one model resident, in execution order: the scheduler
 * decides, the loader fills, layer by layer. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "daemon/weights/loader.h"

struct load_requests;
struct load_request;

struct load_progress {
    uint64_t layers_done, layers_total;
    uint64_t bytes_done, bytes_total;
    uint64_t hits, loaded, must_unload, evicted, flushed;
    uint64_t ahead; /* of the hits: read ahead for a run */
};

/* How a load ended: error 0 and ERROR_NONE (all resident), a refusal (`verdict` tells the figures),
 * or a negative errno of the scheduler or loader for `layer`. */
struct load_end {
    enum error refusal;
    int error;
    const struct layer *layer;
    const struct verdict *verdict; /* with a refusal */
};

struct load_hooks {
    void (*progress)(const struct load_progress *progress, const struct layer *layer,
                     void *context);
    /* The place of `layer` is taken by leases and loads. True: the load waits until
     * load_request_resume; false, or NULL: it ends with ERROR_BUSY. */
    bool (*blocked)(const struct layer *layer, void *context);
    /* A layer is being filled, and the load waits for it. Must not end the load. Optional. */
    void (*waiting)(void *context);
    /* Last; the load is gone afterwards. */
    void (*ended)(const struct load_progress *progress, const struct load_end *end, void *context);
};

int load_requests_new(struct scheduler *scheduler, struct loader *loader,
                      struct load_requests **ret);
struct load_requests *
load_requests_free(struct load_requests *loads); /* after the workers: no fill may be in flight */
DEFINE_CLEANUP(struct load_requests *, load_requests_free);

/* How fast layers have come in lately while any did, all loads together; 0 before the first. */
uint64_t load_requests_bytes_per_sec(const struct load_requests *loads);

/* Loads `n_layers` layers from `first` on. *ret is set before any hook runs; `ended` may run before
 * this returns (all resident, or refused), and the load is gone then. 0 or -ENOMEM. */
int load_request_start(struct load_requests *loads, struct model *model, uint32_t first,
                       uint32_t n_layers, enum on_full on_full, const struct load_hooks *hooks,
                       void *context, struct load_request **ret);

/* How far it is, with the bytes of the layer that is being filled; *ret_layer is that layer. */
void load_request_get_progress(const struct load_request *load, struct load_progress *ret,
                               const struct layer **ret_layer);

/* A blocked load asks again. Hooks may run, and the load may be gone afterwards. */
void load_request_resume(struct load_request *load);

/* Loads what scheduler_read_ahead names, if anything. Nobody waits for it, and what fails is asked
 * for again when it is used. */
void load_requests_read_ahead(struct load_requests *loads, struct run *run);

/* The client is gone: no hook runs any more; a layer that nobody else waits for is cancelled. */
void load_request_cancel(struct load_request *load);
