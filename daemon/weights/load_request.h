/* One client's request to make layers of one model resident, in execution order. For each layer the
 * scheduler decides, and the loader fills the pages. */
#pragma once

#include "daemon/scheduler/scheduler.h"
#include "daemon/weights/loader.h"

struct load_requests;
struct load_request;

struct load_progress {
    uint64_t layers_done, layers_total;
    uint64_t bytes_done, bytes_total;
    uint64_t hits, loaded, must_unload, evicted, flushed;
    uint64_t ahead; /* hits that were read ahead for a run */
};

/* How a load ended: error 0 and ERROR_NONE (all layers are resident), a refusal (`verdict` has the
 * figures), or a negative errno of the scheduler or loader for `layer`. */
struct load_end {
    enum error refusal;
    int error;
    const struct layer *layer;
    const struct verdict *verdict; /* with a refusal */
};

struct load_hooks {
    void (*progress)(const struct load_progress *progress, const struct layer *layer,
                     void *context);
    /* Leases and loads take up the room for `layer`. If the hook returns true, the load waits until
     * load_request_resume. If it returns false, or is NULL, the load ends with ERROR_BUSY. */
    bool (*blocked)(const struct layer *layer, void *context);
    /* The load waits for a layer that is being filled. The hook must not end the load. May be
     * NULL. */
    void (*waiting)(void *context);
    /* Runs last; the load no longer exists afterwards. */
    void (*ended)(const struct load_progress *progress, const struct load_end *end, void *context);
    bool is_prompt; /* its fills are FILL_PROMPT */
};

int load_requests_new(struct scheduler *scheduler, struct loader *loader,
                      struct load_requests **ret);
/* No fill may be in flight, so free the workers first. */
struct load_requests *load_requests_free(struct load_requests *loads);
DEFINE_CLEANUP(struct load_requests *, load_requests_free);

/* Before a layer that makes many others give way, a load evicts them in portions. After each it
 * asks for a call of load_requests_go_on by `later`, from a later turn of the loop. */
void load_requests_on_later(struct load_requests *loads, void (*later)(void *context),
                            void *context);
void load_requests_go_on(struct load_requests *loads);

/* The recent speed of all loads together, while any layer was being filled; 0 before the first
 * load. */
uint64_t load_requests_bytes_per_sec(const struct load_requests *loads);

/* Which layers of a model a request is for: `chosen`, or, if that is NULL, those from `first` on.
 * Borrowed until the load has ended. */
struct load_layers {
    struct model *model;
    struct layer *const *chosen;
    uint32_t first, n;
};

/* Loads layers one after the other, for `requester`. Sets *ret before any hook runs.
 * `ended` may run before this returns (all resident, or refused), and then the load no longer
 * exists. Returns 0 or -ENOMEM. */
int load_request_start(struct load_requests *loads, const struct requester *requester,
                       const struct load_layers *layers, enum on_full on_full,
                       const struct load_hooks *hooks, void *context, struct load_request **ret);

/* The load's progress, including the bytes of the layer that is being filled; *ret_layer is that
 * layer, or NULL while the load makes room for one. */
void load_request_get_progress(const struct load_request *load, struct load_progress *ret,
                               const struct layer **ret_layer);

/* Repeats the request of a blocked load. Hooks may run, and the load may no longer exist
 * afterwards. */
void load_request_resume(struct load_request *load);

/* Loads the layers that scheduler_read_ahead names, if any, for `requester`. No client waits for
 * them. If one fails, it is requested again when the run uses it. */
void load_requests_read_ahead(struct load_requests *loads, const struct requester *requester,
                              struct run *run);

/* Loads the layer if scheduler_read_layer_ahead reserves it, and returns whether it does. No client
 * waits for it. */
bool load_requests_read_layer_ahead(struct load_requests *loads, const struct requester *requester,
                                    struct layer *layer);

/* Ends a load whose client is gone. No hook runs any more. If no other load waits for its layer,
 * the layer's fill is cancelled. */
void load_request_cancel(struct load_request *load);
