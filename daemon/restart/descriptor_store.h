/* The account of what lies in the service manager's descriptor store, and of the weight files
 * there.
 *
 * A weight file lies there once, under its own name, for as long as a model uses it: of two
 * descriptors of one open file the service manager would silently keep the first alone, and drop it
 * with that one's name. Loop thread only. */
#pragma once

#include "common/definition/definition.h"
#include "daemon/restart/ledger.h"

#include <sys/queue.h>

struct descriptor_store {
    uint64_t max;   /* descriptors; what is beyond, the service manager drops silently */
    uint64_t n_fds; /* that are in it */
    LIST_HEAD(sources, source) sources;
};

void descriptor_store_init(struct descriptor_store *store, uint64_t max);
/* Frees the account. The descriptors stay in the store. */
void descriptor_store_done(struct descriptor_store *store);

/* Stores a descriptor. 0, or a negative errno; -ENOSPC: the store is full. */
int descriptor_store_add(struct descriptor_store *store, int fd, const char *name);
/* Removes all descriptors of that name from the store. The caller counts them. */
void descriptor_store_remove(const char *name);

/* Takes a descriptor that was stored under that name, if the name is a weight file's and the
 * descriptor is open on that file. It is counted already. */
bool descriptor_store_take_source(struct descriptor_store *store, const char *name, int fd);
/* Gives these descriptors to the files of a recovery, whichever model they belonged to. Returns how
 * many files have none afterwards. */
size_t descriptor_store_give_sources(struct descriptor_store *store,
                                     struct ledger_recovery *recovery);

/* A model uses its files, from now until store_release_sources: stores those that are not there. 0;
 * or a negative errno (-ENOSPC: no room), with how many could not be. */
int descriptor_store_use_sources(struct descriptor_store *store,
                                 const struct definition *definition, uint32_t *ret_n_left_out);
void descriptor_store_release_sources(struct descriptor_store *store,
                                      const struct definition *definition);

/* Removes the weight files that no model uses from the store, or all of them. */
void descriptor_store_remove_unused(struct descriptor_store *store);
void descriptor_store_remove_sources(struct descriptor_store *store);
