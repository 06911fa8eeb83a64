/* Eviction policies: they choose which resident layers give way. The scheduler evicts them. */
#pragma once

#include "daemon/scheduler/victims.h"

/* lru looks at no more layers for a single one that suffices, so that a choice takes a bounded
 * time. */
enum { POLICY_LOOKS_MAX = 4096 };

struct policy {
    const char *name;
    bool everything; /* it chooses all layers, and the scheduler then evicts them in one step */
    /* Appends victims until they cover needed_pages, or are n_victims_max. The caller has checked
     * that all layers together can cover needed_pages. Returns 0 or -ENOMEM. */
    int (*choose)(const struct policy_view *view, struct victims *victims);
};

/* flush-all chooses every layer. lru chooses the least recently used layers, but prefers a single
 * layer that suffices, if it is among the POLICY_LOOKS_MAX least recently used. next-use first
 * chooses layers that no run will use, the least recently used first; then those that runs use
 * furthest in the future (L. Belady, "A study of replacement algorithms for a virtual-storage
 * computer", 1966). Of the latter it first takes layers that a schedule does not want now, and last
 * those that are kept. Without runs it takes the least recently used layers one by one.
 * expected-use chooses the layers whose next use is expected last, from the order in which the
 * layers of their model are used and from how often each of them is. */
extern const struct policy policy_flush_all;
extern const struct policy policy_lru;
extern const struct policy policy_next_use;
extern const struct policy policy_expected_use;

/* Chooses like next-use, to make room for `target`, which a run reads ahead. It takes only layers
 * that a schedule does not want now, or that are needed later than `target`, and none that its
 * model keeps. Returns 0, -ENOSPC if they do not suffice, or -ENOMEM. */
int policy_choose_for_reading_ahead(const struct policy_view *view, const struct layer *target,
                                    struct victims *victims);

extern const struct policy *const policies[]; /* ends with NULL */
/* Returns a policy of the table; NULL if none has that name. */
const struct policy *policy_find(const char *name);
