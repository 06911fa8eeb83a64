/* What an eviction policy chooses from, and what it has chosen. */
#pragma once

#include "daemon/scheduler/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a policy chooses from: the layers that may be evicted. */
struct policy_view {
    const struct arena *arena;
    struct layer *oldest;        /* evictable layers by last use, linked by `older` and `newer` */
    uint64_t n_outside_runs;     /* of these, at most so many are of models without runs */
    const struct run_list *runs; /* all runs; those of one model are neighbours */
    const struct model *models;  /* all models, linked by `next` */
    uint64_t now_usec;
    uint64_t needed_pages; /* in addition to the free pages; > 0 */
    size_t n_victims_max;  /* it chooses no more, even if they do not suffice; 0: no limit */
};

struct victims {
    struct layer **layers; /* owned; the first n_listed of them */
    size_t n_listed, n_layers;
    uint64_t pages; /* of all of them */
};

/* Appends one victim. Returns 0 or -ENOMEM. */
int victims_append(struct victims *victims, struct layer *layer);

/* Whether there are as many victims as the view asks for. */
bool victims_are_enough(const struct victims *victims, const struct policy_view *view);

/* Removes victims that later ones have made needless, beginning with the last. The last victim is
 * always needed. All must be listed. */
void victims_spare_needless(struct victims *victims, const struct policy_view *view);

void victims_done(struct victims *victims);
