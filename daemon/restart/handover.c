/* Owns the ledger, and the descriptors of arena and ledger that came out of the store. Leaves to
 * descriptor_store.c what else is in the store, and how much. */
#include "daemon/restart/handover.h"

#include "common/log.h"
#include "daemon/arena/client_locks.h"
#include "daemon/restart/descriptor_store.h"
#include "daemon/restart/drafts.h"
#include "daemon/restart/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#define ARENA_NAME   "arena"
#define LEDGER_NAME  "ledger"
#define HISTORY_NAME "history"

struct handover {
    struct descriptor_store store;
    int arena_fd, ledger_fd; /* as taken from the store; -1: none */
    int history_fd;          /* -1: none */
    bool is_doubtful; /* two arenas or ledgers were stored, or another file under such a name */
    struct ledger *ledger; /* NULL before handover_begin, or without a store */
    struct ledger_recovery *recovery;
    struct grace grace;
    struct drafts drafts;
};

struct handover *handover_new(uint64_t store_max)
{
    struct handover *handover = calloc(1, sizeof *handover);
    if (!handover)
        return NULL;
    drafts_init(&handover->drafts);
    descriptor_store_init(&handover->store, store_max);
    handover->arena_fd = handover->ledger_fd = handover->history_fd = -1;
    return handover;
}

struct handover *handover_free(struct handover *handover)
{
    if (!handover)
        return NULL;
    descriptor_store_done(&handover->store);
    closep(&handover->arena_fd);
    closep(&handover->ledger_fd);
    closep(&handover->history_fd);
    ledger_free(handover->ledger);
    ledger_recovery_free(handover->recovery);
    free(handover->grace.layers);
    drafts_done(&handover->drafts);
    free(handover);
    return NULL;
}

/* The daemon must not touch another program's file. A file on a tmpfs has seals as well, but it
 * also has a name. */
static bool is_memory_file(int fd)
{
    struct stat status;
    return fcntl(fd, F_GET_SEALS) >= 0 && fstat(fd, &status) == 0 && status.st_nlink == 0;
}

void handover_take(struct handover *handover, const char *name, int fd)
{
    _cleanup_(closep) int owned = fd;
    int *place = strcmp(name, ARENA_NAME) == 0     ? &handover->arena_fd
                 : strcmp(name, LEDGER_NAME) == 0  ? &handover->ledger_fd
                 : strcmp(name, HISTORY_NAME) == 0 ? &handover->history_fd
                                                   : NULL;

    handover->store.n_fds++;
    if (place && *place < 0 && is_memory_file(owned)) {
        *place = TAKE_FD(owned);
    } else if (place) {
        handover->is_doubtful = true;
        /* A second arena holds memory, too, so it is emptied. */
        if (is_memory_file(owned) && ftruncate(owned, 0) < 0)
            log_error("cannot release the memory of a second stored %s: %s", name, strerror(errno));
    } else if (descriptor_store_take_source(&handover->store, name, owned)) {
        (void)TAKE_FD(owned);
    } else {
        log_warn("the service manager has kept an unknown descriptor: %s", name);
    }
}

/* Makes this a cold start: returns the stored memory to the system, and empties the store. */
static void forget(struct handover *handover)
{
    client_locks_empty(handover->arena_fd);
    descriptor_store_remove(ARENA_NAME);
    descriptor_store_remove(LEDGER_NAME);
    descriptor_store_remove(HISTORY_NAME);
    descriptor_store_remove_sources(&handover->store);
    handover->store.n_fds = 0;
    handover->ledger = ledger_free(handover->ledger);
    handover->recovery = ledger_recovery_free(handover->recovery);
    closep(&handover->arena_fd);
    closep(&handover->ledger_fd);
    closep(&handover->history_fd);
    handover->arena_fd = handover->ledger_fd = handover->history_fd = -1;
}

/* Whether the failure may be gone at the next start. Then all is kept, and that start may be
 * warm. */
static bool is_passing(int error)
{
    switch (error) {
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
    case -EINTR:
    case -EAGAIN:
    case -EBUSY:
    case -EIO:
        return true;
    default:
        return false;
    }
}

static struct ledger_arena describe(const struct backing *backing)
{
    return (struct ledger_arena){
        .fd = backing_fd(backing),
        .page_bytes = backing_page_bytes(backing),
        .capacity_bytes = backing_capacity_bytes(backing),
        .backing = backing_commit(backing),
    };
}

static int adopt(struct handover *handover, const struct backing_config *config,
                 struct backing **ret, char *why)
{
    _cleanup_(backing_freep) struct backing *backing = NULL;
    int fd = fcntl(handover->arena_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        int error = -errno;
        snprintf(why, BACKING_WHY_MAX, "cannot duplicate the stored arena's descriptor: %s",
                 strerror(-error));
        return error;
    }
    int r = backing_adopt(config, fd, &backing, why);
    if (r < 0)
        return r;
    struct ledger_arena arena = describe(backing);
    char ledger_why[LEDGER_WHY_MAX] = "";
    r = ledger_recover(TAKE_FD(handover->ledger_fd), &arena, &handover->ledger, &handover->recovery,
                       ledger_why);
    if (r < 0) {
        if (*ledger_why)
            snprintf(why, BACKING_WHY_MAX, "%s", ledger_why);
        else
            snprintf(why, BACKING_WHY_MAX, "cannot read the ledger: %s", strerror(-r));
        return r;
    }
    size_t n_missing = descriptor_store_give_sources(&handover->store, handover->recovery);
    if (n_missing > 0)
        log_warn("%zu weight files were not kept: if their layers are evicted, these layers cannot "
                 "be loaded again",
                 n_missing);
    *ret = TAKE_PTR(backing);
    return 0;
}

int handover_backing(struct handover *handover, const struct backing_config *config,
                     struct backing **ret, char ret_why[static BACKING_WHY_MAX])
{
    if (handover->arena_fd >= 0 && handover->ledger_fd >= 0 && !handover->is_doubtful) {
        int r = adopt(handover, config, ret, ret_why);
        if (r == 0)
            return 0;
        if (is_passing(r)) {
            log_notice("arena, ledger and weight files stay stored for the next start");
            return r;
        }
        log_notice("a cold start: %s", ret_why);
    } else if (handover->store.n_fds > 0) {
        log_notice(
            "a cold start: the service manager has not kept exactly one arena and one ledger");
    }
    if (handover->store.n_fds > 0)
        forget(handover);
    return backing_new(config, ret, ret_why);
}

/* Registers the models; `models` receives them in the recovery's order. */
static int restore_models(struct handover *handover, struct scheduler *scheduler,
                          struct model **models)
{
    const struct ledger_recovery *recovery = handover->recovery;
    for (size_t i = 0; i < recovery->n_models; i++) {
        struct model_refusal refusal;
        uint32_t n_missing;
        int r =
            scheduler_add_model(scheduler, recovery->models[i].definition, &models[i], &refusal);
        if (r < 0)
            return r;
        ledger_bind(handover->ledger, recovery->models[i].id, models[i]);
        descriptor_store_use_sources(&handover->store, models[i]->definition, &n_missing);
    }
    /* These files were stored for a model whose registration or removal was interrupted. */
    descriptor_store_remove_unused(&handover->store);
    return 0;
}

static int restore_layers(struct handover *handover, struct scheduler *scheduler,
                          struct arena *arena, const struct backing *backing,
                          struct model *const *models)
{
    const struct ledger_recovery *recovery = handover->recovery;
    /* Each array has one element more than it needs, so that an empty one is no failure. */
    uint64_t end_page = 0;
    _cleanup_(freep) struct claim *claims = calloc(recovery->n_extents + 1, sizeof *claims);
    _cleanup_(freep) struct layer **layers = calloc(recovery->n_layers + 1, sizeof *layers);
    _cleanup_(freep) struct grace_layer *leased = calloc(recovery->n_layers + 1, sizeof *leased);
    size_t n_leased = 0;
    if (!claims || !layers || !leased)
        return -ENOMEM;
    for (size_t i = 0; i < recovery->n_layers; i++) {
        const struct ledger_recovered_layer *layer = &recovery->layers[i];
        layers[i] = &models[layer->model]->layers[layer->index];
        layers[i]->fill_id = layer->fill_id;
        if (layer->n_leases > 0)
            leased[n_leased++] = (struct grace_layer){layers[i], layer->n_leases, layer->is_mapped};
    }
    for (size_t i = 0; i < recovery->n_extents; i++) {
        const struct ledger_recovered_extent *extent = &recovery->extents[i];
        end_page = extent->first_page + extent->n_pages;
        claims[i] =
            (struct claim){extent->first_page, extent->n_pages, &layers[extent->layer]->allocation};
    }
    /* With commit = load the file must not be longer than the arena's high-water mark. */
    uint64_t high_water_pages = backing_mark_bytes(backing) / arena_page_bytes(arena);
    if (backing_commit(backing) == COMMIT_BOOT)
        high_water_pages = end_page;
    int r = arena_restore(arena, claims, recovery->n_extents, high_water_pages);
    if (r < 0)
        return r;
    scheduler_adopt(scheduler, layers, recovery->n_layers, recovery->last_fill_id,
                    recovery->loaded_bytes);
    grace_begin(&handover->grace, scheduler, TAKE_PTR(leased), n_leased);
    return 0;
}

int handover_restore(struct handover *handover, struct scheduler *scheduler, struct arena *arena,
                     const struct backing *backing)
{
    const struct ledger_recovery *recovery = handover->recovery;
    if (!recovery)
        return 0;
    _cleanup_(freep) struct model **models = calloc(recovery->n_models + 1, sizeof *models);
    int r = models ? restore_models(handover, scheduler, models) : -ENOMEM;
    if (r == 0)
        r = restore_layers(handover, scheduler, arena, backing, models);
    if (r < 0) {
        if (is_passing(r))
            log_notice("arena, ledger and weight files stay stored for the next start");
        else
            forget(handover);
        return r;
    }
    log_notice("a warm start: %zu layers of %zu models are where they were, %zu of them leased",
               recovery->n_layers, recovery->n_models, handover->grace.n_layers);
    handover->recovery = ledger_recovery_free(handover->recovery);
    closep(&handover->arena_fd);
    handover->arena_fd = -1;
    return 0;
}

static int begin_ledger(struct handover *handover, struct scheduler *scheduler,
                        const struct backing *backing)
{
    struct ledger_arena arena = describe(backing);
    uint64_t first_fill_id;
    /* Starts at a random number, so that no load gets a number of an earlier ledger, and no client
     * takes new bytes for old ones. */
    if (getrandom(&first_fill_id, sizeof first_fill_id, 0) < 0)
        return -errno;
    scheduler_adopt(scheduler, NULL, 0, first_fill_id >> 12, 0);
    int r = ledger_new(&arena, &handover->ledger);
    if (r == 0)
        r = descriptor_store_add(&handover->store, arena.fd, ARENA_NAME);
    if (r == 0)
        r = descriptor_store_add(&handover->store, ledger_fd(handover->ledger), LEDGER_NAME);
    return r;
}

/* Without a place in the store there is no history after a restart, and that harms nobody. */
static void begin_history(struct handover *handover)
{
    if (handover->history_fd >= 0)
        return;
    _cleanup_(closep) int fd = memfd_create("edgemind-history", MFD_CLOEXEC);
    if (fd >= 0 && descriptor_store_add(&handover->store, fd, HISTORY_NAME) == 0)
        handover->history_fd = TAKE_FD(fd);
}

int handover_begin(struct handover *handover, struct scheduler *scheduler,
                   const struct backing *backing)
{
    if (handover->store.max < 2)
        return 0;
    int r = handover->ledger ? 0 : begin_ledger(handover, scheduler, backing);
    if (r == 0)
        begin_history(handover);
    return r;
}

int handover_history_fd(const struct handover *handover)
{
    return handover->history_fd;
}

void handover_prepare(const struct definition *definition, void *context)
{
    struct handover *handover = context;
    if (handover->ledger)
        drafts_make(&handover->drafts, handover->ledger, definition);
}

void handover_forget(const struct definition *definition, void *context)
{
    struct handover *handover = context;
    ledger_draft_drop(handover->ledger, drafts_take(&handover->drafts, definition));
}

static int add_model(struct handover *handover, const struct model *model)
{
    struct ledger_draft *draft = drafts_take(&handover->drafts, model->definition);
    return draft ? ledger_add_drafted(handover->ledger, model, draft)
                 : ledger_add_model(handover->ledger, model);
}

/* Called before the ledger knows the model, so that it never knows a model whose files are not
 * stored. */
static void keep_sources(struct handover *handover, const struct definition *definition)
{
    uint32_t n_left_out;
    int r = descriptor_store_use_sources(&handover->store, definition, &n_left_out);
    if (r < 0)
        log_warn("%" PRIu32
                 " weight files of %s are not kept over a restart (%s): if the model's layers "
                 "are evicted after a restart, they cannot be loaded again",
                 n_left_out, definition->name,
                 r == -ENOSPC ? "the service manager's FileDescriptorStoreMax= is reached"
                              : strerror(-r));
}

void handover_on_scheduler(const struct scheduler_event *event, void *context)
{
    struct handover *handover = context;
    struct ledger *ledger = handover->ledger;
    int r = 0;

    if (!ledger)
        return;
    switch (event->type) {
    case EVENT_MODEL_ADDED:
        keep_sources(handover, event->model->definition);
        r = add_model(handover, event->model);
        break;
    case EVENT_MODEL_REMOVED:
        r = ledger_remove_model(ledger, event->model);
        descriptor_store_release_sources(&handover->store, event->model->definition);
        break;
    case EVENT_LAYER_LOADED:
        r = ledger_loaded(ledger, event->layer, event->layer->fill_id);
        break;
    case EVENT_LAYER_EVICTED:
        r = ledger_evicted(ledger, event->layer);
        break;
    case EVENT_FLUSHED:
        r = ledger_flushed(ledger);
        break;
    case EVENT_LAYER_PINNED:
    case EVENT_LAYER_UNPINNED:
        r = ledger_leased(ledger, event->layer, event->layer->fill_id, event->layer->n_pins,
                          event->layer->n_pins == event->layer->n_mapped_pins);
        break;
    case EVENT_LAYER_LOADING:
    case EVENT_LAYER_ABANDONED:
    case EVENT_REFUSED:
    case EVENT_POLICY_CHANGED:
        break;
    }
    if (r < 0)
        log_error("cannot write the ledger, so the next start will be cold: %s", strerror(-r));
}

struct grace *handover_grace(struct handover *handover)
{
    return &handover->grace;
}
