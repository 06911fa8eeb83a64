/* Keeps the account of the service manager's descriptor store, and of the weight files in it.
 *
 * A weight file is stored once, under its own name, for as long as a model uses it. If two
 * descriptors of one open file were stored, the service manager would silently keep only the first,
 * and would drop it together with the first one's name. Loop thread only. */
#pragma once

#include "common/definition/definition.h"
#include "daemon/restart/ledger.h"

#include <sys/queue.h>

struct descriptor_store {
    uint64_t max;   /* descriptors; the service manager silently drops any more */
    uint64_t n_fds; /* descriptors in the store now */
    LIST_HEAD(sources, source) sources;
};

void descriptor_store_init(struct descriptor_store *store, uint64_t max);
/* Frees the account. The descriptors stay in the store. */
void descriptor_store_done(struct descriptor_store *store);

/* Stores a descriptor. Returns 0 or a negative errno; -ENOSPC: the store is full. */
int descriptor_store_add(struct descriptor_store *store, int fd, const char *name);
/* Removes all descriptors with that name from the store. The caller corrects n_fds. */
void descriptor_store_remove(const char *name);

/* Takes a descriptor that was stored under that name, if the name is a weight file's and the
 * descriptor is open on that file. n_fds already counts it. */
bool descriptor_store_take_source(struct descriptor_store *store, const char *name, int fd);
/* Gives these descriptors to the files of a recovery, whichever model they belonged to. Returns how
 * many files then still lack a descriptor. */
size_t descriptor_store_give_sources(struct descriptor_store *store,
                                     struct ledger_recovery *recovery);

/* The model uses its files from now until descriptor_store_release_sources. Stores the files that
 * are not in the store yet. Returns 0; or a negative errno (-ENOSPC: the store is full), with the
 * number of files that could not be stored. */
int descriptor_store_use_sources(struct descriptor_store *store,
                                 const struct definition *definition, uint32_t *ret_n_left_out);
void descriptor_store_release_sources(struct descriptor_store *store,
                                      const struct definition *definition);

/* The first removes from the store the weight files that no model uses, the second all weight
 * files. */
void descriptor_store_remove_unused(struct descriptor_store *store);
void descriptor_store_remove_sources(struct descriptor_store *store);
