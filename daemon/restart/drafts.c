#include "daemon/restart/drafts.h"

#include <stdlib.h>

struct draft {
    LIST_ENTRY(draft) entry;
    const struct definition *definition; /* only for comparisons */
    struct ledger_draft *written;
};

void drafts_init(struct drafts *drafts)
{
    pthread_mutex_init(&drafts->mutex, NULL);
    LIST_INIT(&drafts->list);
}

void drafts_done(struct drafts *drafts)
{
    pthread_mutex_destroy(&drafts->mutex);
}

void drafts_make(struct drafts *drafts, struct ledger *ledger, const struct definition *definition)
{
    struct draft *draft = malloc(sizeof *draft);
    struct ledger_draft *written = draft ? ledger_draft(ledger, definition) : NULL;
    if (!written) {
        free(draft);
        return;
    }
    draft->definition = definition;
    draft->written = written;
    pthread_mutex_lock(&drafts->mutex);
    LIST_INSERT_HEAD(&drafts->list, draft, entry);
    pthread_mutex_unlock(&drafts->mutex);
}

static struct draft *find(const struct drafts *drafts, const struct definition *definition)
{
    struct draft *draft;
    LIST_FOREACH (draft, &drafts->list, entry)
        if (draft->definition == definition)
            return draft;
    return NULL;
}

struct ledger_draft *drafts_take(struct drafts *drafts, const struct definition *definition)
{
    struct ledger_draft *written = NULL;
    pthread_mutex_lock(&drafts->mutex);
    struct draft *draft = find(drafts, definition);
    if (draft) {
        written = draft->written;
        LIST_REMOVE(draft, entry);
        free(draft);
    }
    pthread_mutex_unlock(&drafts->mutex);
    return written;
}
