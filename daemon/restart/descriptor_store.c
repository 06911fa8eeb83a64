/* Owns the list of weight files that are in the store or in use. Each has one entry, which counts
 * the models' files that refer to it. */
#include "daemon/restart/descriptor_store.h"

#include "common/definition/weight_file.h"
#include "daemon/system/service_manager.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { SOURCE_NAME_MAX = 64 };

struct source {
    LIST_ENTRY(source) entry;
    char name[SOURCE_NAME_MAX]; /* its name in the store, made from device and inode */
    uint64_t n_stored; /* descriptors in the store: 0 or 1, unless another program added some */
    uint64_t n_users;  /* files of models */
    int fd;            /* taken from the store and not yet given to a model; or -1 */
};

static void free_source(struct source *source)
{
    LIST_REMOVE(source, entry);
    closep(&source->fd);
    free(source);
}

void descriptor_store_init(struct descriptor_store *store, uint64_t max)
{
    *store = (struct descriptor_store){.max = max};
    LIST_INIT(&store->sources);
}

void descriptor_store_done(struct descriptor_store *store)
{
    while (!LIST_EMPTY(&store->sources))
        free_source(LIST_FIRST(&store->sources));
}

int descriptor_store_add(struct descriptor_store *store, int fd, const char *name)
{
    if (store->n_fds >= store->max)
        return -ENOSPC;
    int r = service_manager_store(fd, name);
    if (r == 0)
        store->n_fds++;
    return r;
}

void descriptor_store_remove(const char *name)
{
    service_manager_unstore(name);
}

static void remove_source(struct descriptor_store *store, struct source *source)
{
    if (source->n_stored > 0)
        descriptor_store_remove(source->name);
    store->n_fds -= source->n_stored;
    free_source(source);
}

/* Does not wait for the file's server. 0 or a negative errno. */
static int name_source(int fd, char ret[static SOURCE_NAME_MAX])
{
    struct weight_file_look look;
    int r = weight_file_look(fd, &look);
    if (r == 0)
        snprintf(ret, SOURCE_NAME_MAX, "source-%ju-%ju", (uintmax_t)look.now.device,
                 (uintmax_t)look.now.inode);
    return r;
}

static struct source *find_source(struct descriptor_store *store, const char *name)
{
    struct source *source;
    LIST_FOREACH (source, &store->sources, entry) {
        if (strcmp(source->name, name) == 0)
            break;
    }
    return source;
}

/* NULL when out of memory. */
static struct source *make_source(struct descriptor_store *store, const char *name)
{
    struct source *source = find_source(store, name);
    if (source)
        return source;
    source = malloc(sizeof *source);
    if (!source)
        return NULL;
    *source = (struct source){.fd = -1};
    strcpy(source->name, name);
    LIST_INSERT_HEAD(&store->sources, source, entry);
    return source;
}

bool descriptor_store_take_source(struct descriptor_store *store, const char *name, int fd)
{
    char same[SOURCE_NAME_MAX];
    if (name_source(fd, same) < 0 || strcmp(name, same) != 0)
        return false;
    struct source *source = make_source(store, name);
    if (!source)
        return false;
    source->n_stored++;
    closep(&source->fd);
    source->fd = fd;
    return true;
}

size_t descriptor_store_give_sources(struct descriptor_store *store,
                                     struct ledger_recovery *recovery)
{
    struct source *source;
    LIST_FOREACH (source, &store->sources, entry) {
        ledger_recovery_take_source(recovery, TAKE_FD(source->fd));
    }
    return ledger_recovery_share_sources(recovery);
}

static int use_source(struct descriptor_store *store, int fd)
{
    char name[SOURCE_NAME_MAX];
    int r = name_source(fd, name);
    if (r < 0)
        return r;
    struct source *source = make_source(store, name);
    if (!source)
        return -ENOMEM;
    source->n_users++;
    if (source->n_stored > 0)
        return 0;
    r = descriptor_store_add(store, fd, name);
    source->n_stored = r == 0;
    return r;
}

int descriptor_store_use_sources(struct descriptor_store *store,
                                 const struct definition *definition, uint32_t *ret_n_left_out)
{
    uint32_t n_left_out = 0;
    int error = 0;
    for (uint32_t i = 0; i < definition->n_files; i++) {
        int r = use_source(store, definition->files[i].fd);
        if (r < 0) {
            error = r;
            n_left_out++;
        }
    }
    *ret_n_left_out = n_left_out;
    return error;
}

void descriptor_store_release_sources(struct descriptor_store *store,
                                      const struct definition *definition)
{
    for (uint32_t i = 0; i < definition->n_files; i++) {
        char name[SOURCE_NAME_MAX];
        if (name_source(definition->files[i].fd, name) < 0)
            continue; /* this file was not kept over a restart */
        struct source *source = find_source(store, name);
        if (source && --source->n_users == 0)
            remove_source(store, source);
    }
}

static void remove_used_by(struct descriptor_store *store, uint64_t n_users_max)
{
    struct source *source, *next;
    for (source = LIST_FIRST(&store->sources); source; source = next) {
        next = LIST_NEXT(source, entry);
        if (source->n_users <= n_users_max)
            remove_source(store, source);
    }
}

void descriptor_store_remove_unused(struct descriptor_store *store)
{
    remove_used_by(store, 0);
}

void descriptor_store_remove_sources(struct descriptor_store *store)
{
    remove_used_by(store, UINT64_MAX);
}
