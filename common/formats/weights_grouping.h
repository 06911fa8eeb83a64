/* The work in progress of weights_group: tensors on their way to layers. */
#pragma once

#include "common/formats/weights_index.h"

struct item {
    const struct tensor_entry *entry;
    const char *alias; /* NULL: the tensor under its own name */
    uint32_t position; /* in the order of the files */
    uint16_t n_prefix; /* length of the part of the name that identifies the family or the module */
    uint16_t n_layer;  /* ... the layer */
    int32_t number;    /* of the block; -1: a module */
    int32_t unit;      /* as in struct weights_tensor */
};

/* A future layer: items[first] and the items after it. */
struct group {
    uint32_t first, n_items;
    uint32_t position; /* of its first tensor */
    uint32_t rank;     /* groups are ordered by rank, then by number, then by position */
    uint32_t part;     /* counts the parts of a layer that is cut, from 1; 0: no such part */
    int32_t unit;      /* as in struct weights_tensor */
};

struct family {
    const char *prefix;
    uint32_t n_prefix;
    uint32_t position;
    uint32_t first, n_groups;
    int side; /* -1: an encoder's, 1: a decoder's */
};

struct grouping {
    struct item *items;
    struct group *groups;
    struct family *families;
    uint32_t n_items, n_groups, n_families;
};

/* Cuts the groups of more than `unit_bytes` bytes into parts; see weights.h. The groups must have
 * their ranks, and must not be in their final order yet. 0 or -ENOMEM. */
int grouping_cut(struct grouping *grouping, uint64_t unit_bytes);
