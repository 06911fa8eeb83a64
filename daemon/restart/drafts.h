/* The definitions that workers have written to the ledger, for models that are not registered yet.
 */
#pragma once

#include "daemon/restart/ledger.h"

#include <pthread.h>
#include <sys/queue.h>

struct drafts {
    pthread_mutex_t mutex; /* of the list */
    LIST_HEAD(draft_list, draft) list;
};

void drafts_init(struct drafts *drafts);
/* All drafts must have been taken. */
void drafts_done(struct drafts *drafts);

/* Any thread. If there is no memory, there is no draft. */
void drafts_make(struct drafts *drafts, struct ledger *ledger, const struct definition *definition);
/* The caller owns it; NULL if there is none. */
struct ledger_draft *drafts_take(struct drafts *drafts, const struct definition *definition);
