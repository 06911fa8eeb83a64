/* A run: a client's declaration that it will use a model's layers in order, again and again. Only
 * the scheduler writes it. */
#pragma once

#include "daemon/model.h"

#include <sys/queue.h>

struct run {
    LIST_ENTRY(run) entry;
    struct model *model;
    struct layer *next;  /* the layer that the run uses next */
    struct layer *ahead; /* the last one that was read ahead for it, or NULL */
    uint64_t n_passes;   /* times that it has come to the model's end */
};
LIST_HEAD(run_list, run);
