/* Eviction policies: which resident layers give way. Pure choice; the scheduler evicts. */
#pragma once

#include "daemon/model.h"

/* The layers that may be evicted, as the scheduler hands them to a policy. */
struct policy_view {
    const struct arena *arena;
    struct layer *oldest;  /* residents by last use, linked by `newer` */
    uint64_t needed_pages; /* beyond the pages that are free; > 0 */
};

struct victims {
    struct layer **layers; /* owned */
    size_t n_layers;
    uint64_t pages;
};

struct policy {
    const char *name;
    bool everything; /* it chooses all there is, which the scheduler then evicts at once */
    /* Appends victims until they cover needed_pages; the caller has checked that they can. 0 or
     * -ENOMEM. */
    int (*choose)(const struct policy_view *view, struct victims *victims);
};

/* flush-all: every layer. lru: the least recently used first, one that suffices alone preferred. */
extern const struct policy policy_flush_all;
extern const struct policy policy_lru;

/* Borrowed from a table; NULL if there is none of that name. */
const struct policy *policy_find(const char *name);

void victims_done(struct victims *victims);
