/* Models and their layers as the scheduler keeps them. Held by value so that ten thousand layers
 * stay cheap; only scheduler.c and policy.c write them. */
#pragma once

#include "common/definition.h"
#include "daemon/arena.h"

enum layer_state {
    LAYER_ABSENT,
    LAYER_LOADING, /* its pages are reserved and nobody else's until the loader is done with them */
    LAYER_RESIDENT
};

struct model;
struct fill;

struct layer {
    struct model *model;
    struct allocation allocation; /* an older generation means: absent */
    uint64_t used_usec;           /* last hit or load */
    struct layer *older, *newer;  /* the residents by last use; meaningless unless resident */
    struct fill *fill;            /* the loader's work in progress, or NULL; the loader's to set */
    uint32_t index;               /* in the model, in execution order */
    enum layer_state state;       /* as of the allocation's generation: read it with layer_state */
};

struct model {
    struct definition *definition; /* a reference */
    struct layer *layers;          /* definition->n_layers of them */
    struct model *next;            /* in order of registration */
    uint64_t n_loading;
};

static inline const struct layer_definition *layer_definition(const struct layer *layer)
{
    return &layer->model->definition->layers[layer->index];
}

/* Borrowed; NULL if there is none. */
struct layer *model_find_layer(struct model *model, const char *name);
