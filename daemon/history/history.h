/* The last decisions of the scheduler, and what they say about a layer that is not in the arena.
 *
 * It takes a fixed amount of memory: HISTORY_ENTRIES_MAX entries of fixed size in a ring, of which
 * the oldest is overwritten. A longer name of the layer that needed the room is cut. A load is no
 * entry, because the layer itself knows when it was last used. */
#pragma once

#include "daemon/scheduler/scheduler.h"

enum {
    HISTORY_ENTRIES_MAX = 10000,
    HISTORY_TEXT_MAX = 96,
    /* If more layers were held during a flush, that flush may be named for those beyond, although a
     * later one evicted them. */
    HISTORY_HELD_MAX = 64,
};

enum history_kind {
    HISTORY_ADDED,     /* the model was registered */
    HISTORY_REMOVED,   /* the model was unloaded */
    HISTORY_EVICTED,   /* the layer was */
    HISTORY_FLUSHED,   /* all layers that nobody held were evicted */
    HISTORY_HELD,      /* the layer was held during a flush, just before this entry */
    HISTORY_ABANDONED, /* the layer's load failed or was cancelled */
    HISTORY_REFUSED,   /* a request for the layer was; `decision` says why */
};

struct history_entry {
    enum history_kind kind;
    enum decision decision;
    uint64_t boot_usec; /* as of clock_boottime_usec */
    uint64_t mono_usec; /* monotonic */
    uint64_t bytes, n_layers;
    struct requester requester;
    const struct policy *policy; /* that chose what was evicted; NULL: a client did */
    /* EVICTED, FLUSHED: the layer that needs the room, as MODEL/LAYER, or empty. REFUSED: the
     * layer, which may be of a model that was never registered. */
    char text[HISTORY_TEXT_MAX];
    uint32_t layer; /* its index; UINT32_MAX: none */
    bool trimmed;   /* EVICTED: because the system was short of memory */
    /* Of the name of the model. Which layer of another model has the same key is unlikely enough.
     */
    uint64_t model_key;
    uint64_t number;   /* from 1 */
    uint64_t previous; /* the number of the entry before it with the same slot of `newest` */
};

struct history;

/* Returns 0 or -ENOMEM. The scheduler is borrowed. */
int history_new(const struct scheduler *scheduler, struct history **ret);
struct history *history_free(struct history *history);
DEFINE_CLEANUP(struct history *, history_free);

/* A scheduler_observer; `context` is the struct history. */
void history_on_scheduler(const struct scheduler_event *event, void *context);

/* Finds the entries of a model since it was registered last, newest first, among them all flushes.
 * If no such model is registered, finds how it ended or was refused. `ret` gets at most `max`
 * borrowed entries. Returns how many there are. */
size_t history_of_model(const struct history *history, const char *name,
                        const struct history_entry **ret, size_t max);

/* Finds the entries of a layer since it was last used, newest first. If the layer is absent, the
 * last of them is the one that evicted it, if the ring still has that. */
size_t history_of_layer(const struct history *history, const struct layer *layer,
                        const struct history_entry **ret, size_t max);

/* Returns the monotonic time at which an absent layer, or one that begins to load, was evicted; 0
 * if it never was, or the ring does not have it any more. Takes bounded time. */
uint64_t history_evicted_usec(const struct history *history, const struct layer *layer);

/* The time, as of clock_boottime_usec, from which on it has every decision. */
uint64_t history_since_usec(const struct history *history);
