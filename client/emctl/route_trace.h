/* Reads a route trace: which experts each token used in each layer of a mixture of experts. It is a
 * text file with a line
 *     # layer=L expert_bytes=B dense_bytes=D
 * for each layer, and a line
 *     turn,phase,step,layer,slot,expert,...
 * for each expert that was used. Further columns and other lines with "#" are passed over. Phase 1
 * is decoding. Of a trace only the decoding is kept, without its first step. */
#pragma once

#include "common/cleanup.h"

#include <stdint.h>
#include <stdio.h>

enum {
    ROUTE_LAYERS_MAX = 4096,
    ROUTE_EXPERTS_MAX = 4096,        /* of a layer */
    ROUTE_PASS_MAX = 256,            /* experts that one token uses in one layer */
    ROUTE_USES_MAX = 4 * 1024 * 1024 /* of the whole trace */
};

/* Of one expert, and of all else in a layer. No sum of a trace's bytes overflows. */
#define ROUTE_BYTES_MAX ((uint64_t)1 << 40)

struct route_layer {
    uint64_t expert_bytes; /* 0: no line describes the layer */
    uint64_t dense_bytes;
    uint32_t n_experts; /* the largest expert that is used, plus one */
};

/* One token in one layer: uses[first] to uses[first + n - 1] are different experts. */
struct route_pass {
    uint32_t layer, first, n;
};

struct route_trace {
    struct route_layer *layers;
    struct route_pass *passes;
    uint32_t *uses;
    uint32_t n_layers, n_passes, n_uses, n_steps;
};

struct route_failure {
    unsigned long line; /* 0: the file as a whole */
    const char *what;   /* without a full stop */
};

/* 0; -EBADMSG and `ret_failure`; -ENOMEM; or -EIO. */
int route_trace_read(FILE *file, struct route_trace *ret, struct route_failure *ret_failure);
void route_trace_done(struct route_trace *trace);
