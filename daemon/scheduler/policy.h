/* Eviction policies: which resident layers give way. Pure choice; the scheduler evicts. */
#pragma once

#include "daemon/scheduler/run.h"

/* The layers that may be evicted, as the scheduler hands them to a policy. */
struct policy_view {
    const struct arena *arena;
    struct layer *oldest;        /* residents by last use, linked by `older` and `newer` */
    const struct run_list *runs; /* all that are declared; those of one model stand together */
    uint64_t needed_pages;       /* beyond the pages that are free; > 0 */
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

/* flush-all: every layer. lru: the least recently used first, one that suffices alone preferred.
 * next-use: what no run will use, by last use; then what runs use furthest in the future (L.
 * Belady, "A study of replacement algorithms for a virtual-storage computer", 1966), layers that
 * a schedule has no use for now first and those that are kept last. Without runs it is lru, layer
 * by layer. */
extern const struct policy policy_flush_all;
extern const struct policy policy_lru;
extern const struct policy policy_next_use;

/* As next-use, but only layers that a schedule has no use for now, or that are needed later than
 * `target`, which a run reads ahead; none that its model keeps. 0, -ENOSPC if they do not suffice,
 * or -ENOMEM. */
int policy_choose_for_reading_ahead(const struct policy_view *view, const struct layer *target,
                                    struct victims *victims);

/* For policies: appends one victim. 0 or -ENOMEM. */
int victims_append(struct victims *victims, struct layer *layer);

extern const struct policy *const policies[]; /* ends with NULL */
/* Borrowed from the table; NULL if there is none of that name. */
const struct policy *policy_find(const char *name);

void victims_done(struct victims *victims);
