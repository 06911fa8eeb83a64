/* The private parts of expected_use. Only the files expected_use*.c include it. */
#pragma once

#include "common/residency/expected_use.h"

/* The results on route traces hardly change when these values are halved or doubled. */
#define SHORT_PASSES 1.3F /* time constants of the two frequencies */
#define LONG_PASSES  30.0F

enum {
    FOLLOWERS = 10,   /* kept for each unit */
    RECENT_MAX = 16,  /* a pass that uses more units does not say who follows whom */
    SHORT_TABLE = 64, /* after so many passes the frequency counts as 0 */
    LONG_TABLE = 1024
};

struct unit {
    float short_frequency, long_frequency; /* at pass `used` */
    float follows;                         /* part of p that the layer's last pass gives */
    uint32_t used;                         /* the layer's pass that last used it; 0: none */
    uint16_t place; /* in the layer's heap, from 1 on; 0, or another unit is there: not offered */
    uint16_t followers[FOLLOWERS];
    uint8_t counts[FOLLOWERS]; /* 0: no such follower */
    uint8_t n_uses;            /* halved together with `counts`, so that these do not overflow */
};
_Static_assert(sizeof(struct unit) + sizeof(uint16_t) <= EXPECTED_USE_UNIT_BYTES_MAX,
               "a unit and its place in a heap");

struct layer {
    struct unit *units; /* of expected_use.units */
    uint16_t *heap;     /* of expected_use.heaps: indices of offered units */
    uint32_t n_units, n_offered;
    uint32_t n_passes;
    uint32_t n_recent;
    uint16_t recent[RECENT_MAX]; /* the units of the last pass */
    uint32_t epoch; /* of its offers; if it is older than that of all, there are none */
    bool is_stale;  /* `furthest` and `distance` must be found again */
    uint32_t furthest;
    double distance; /* of `furthest`, where d counts from layer 0; negative: nothing is offered */
};

struct expected_use {
    struct layer *layers;
    struct unit *units;
    uint16_t *heaps;
    uint32_t *stale; /* the layers whose is_stale is set */
    /* tree[n_leaves + i] is layer i; tree[i] is the further one of tree[2i] and tree[2i + 1]. */
    uint32_t *tree;
    uint32_t n_layers, n_stale, n_leaves;
    uint64_t n_units;
    uint32_t at;    /* the layer of the last pass */
    uint32_t epoch; /* grows when all offers end */
    float short_decay[SHORT_TABLE], long_decay[LONG_TABLE];
};
