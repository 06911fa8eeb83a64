/* The ledger: what lies where in the arena, so that the next daemon process finds it again.
 *
 * A memfd beside the arena's in the service manager's file-descriptor store, written with pwrite
 * and never mapped: a mapping would count in the RSS. The kernel keeps it when a process dies, at
 * whatever moment. It does not survive a reboot, and need not.
 *
 * A step is committed when its function has returned. The caller commits a step that frees pages
 * (evicted, flushed) before it writes to them again, and a step that fills pages (loaded) after
 * they are complete. A process that dies within a step leaves the state before it or after it. One
 * step is two writes of less than 100 bytes each, however many layers there are; a layer in several
 * extents costs one more for each.
 *
 * If a step cannot be written, the whole ledger is void, and the next start is cold. That step
 * returns a negative errno; every later one does nothing and returns 0.
 *
 * There is no checksum of the layers' bytes, because only this daemon can write them, and because
 * reading them again would take longer than a restart may. Loop thread only. */
#pragma once

#include "daemon/scheduler/model.h"

#include <stdbool.h>
#include <stddef.h>

enum { LEDGER_LEASES_MAX = UINT16_MAX };

struct ledger;

/* The arena that a ledger describes. A ledger is of no use with another arena, or with this one at
 * another capacity or page size. */
struct ledger_arena {
    int fd; /* borrowed, during the call only */
    uint64_t page_bytes, capacity_bytes;
    uint32_t backing; /* what else has to be the same; any number */
};

/* Creates an empty ledger in a new memfd. 0 or a negative errno. */
int ledger_new(const struct ledger_arena *arena, struct ledger **ret);
/* Closes the memfd. Duplicates in the descriptor store stay open. */
struct ledger *ledger_free(struct ledger *ledger);
DEFINE_CLEANUP(struct ledger *, ledger_free);

/* Borrowed. To duplicate it in this process and close that gives up the claim that ledger_recover
 * looks for. */
int ledger_fd(const struct ledger *ledger);

/* The model's number in this ledger, which is never used twice; 0 if the model is not in it. */
uint64_t ledger_model_id(const struct ledger *ledger, const struct model *model);

/* The steps. `model` is known by its address until it is removed; its definition is written down,
 * and its weight files must be open. A removed model has no resident layers. A `fill_id` is a
 * number that no other load of any layer has, in this ledger and in those before it. */
int ledger_add_model(struct ledger *ledger, const struct model *model);
int ledger_remove_model(struct ledger *ledger, const struct model *model);
int ledger_loaded(struct ledger *ledger, const struct layer *layer, uint64_t fill_id);
int ledger_evicted(struct ledger *ledger, const struct layer *layer);
/* Writes down how many leases hold a resident layer now, at most LEDGER_LEASES_MAX. A flush keeps
 * layers that are held. */
int ledger_leased(struct ledger *ledger, const struct layer *layer, uint64_t fill_id,
                  uint32_t n_leases);
/* Every layer that is not held is evicted. */
int ledger_flushed(struct ledger *ledger);

/* What a ledger says, checked: extents lie in the arena, no two overlap, and each layer's are what
 * it needs. */
struct ledger_recovery {
    struct ledger_recovered_model {
        struct definition *definition; /* its files have no descriptors yet */
        uint64_t id;                   /* see ledger_model_id */
        struct ledger_source {
            uint64_t device, inode;
        } * sources; /* what its files were */
    } * models;      /* in order of registration */
    struct ledger_recovered_layer {
        uint64_t fill_id;
        uint64_t step; /* its last one */
        uint32_t model, index;
        uint32_t n_leases;
    } * layers; /* that are resident; by their last step, which is nearly by their last use */
    struct ledger_recovered_extent {
        uint64_t first_page, n_pages;
        size_t layer;
    } * extents; /* by address; those of a layer are in order, too */
    size_t n_models, n_layers, n_extents;
    uint64_t last_fill_id; /* the largest that was ever given */
    uint64_t loaded_bytes; /* weights of all loads that were committed */
};

enum { LEDGER_WHY_MAX = 256 };

/* Takes `fd`, also on failure, and goes on with it. 0; -EBADMSG (it does not check out), -ESTALE
 * (another version, arena, capacity or backing), -EBUSY (the process that wrote it is not gone with
 * all its threads), -ENOMEM or another errno, with `ret_why` for a person: a cold start all of
 * them. Every model has to be given to ledger_bind before the next step. Release the recovery with
 * ledger_recovery_free. */
int ledger_recover(int fd, const struct ledger_arena *arena, struct ledger **ret,
                   struct ledger_recovery **ret_recovery, char ret_why[static LEDGER_WHY_MAX]);
struct ledger_recovery *ledger_recovery_free(struct ledger_recovery *recovery);
DEFINE_CLEANUP(struct ledger_recovery *, ledger_recovery_free);

/* Says that the model with that number lives at this address. */
void ledger_bind(struct ledger *ledger, uint64_t model_id, const struct model *model);

/* Takes a descriptor that was stored, and gives it to a file that it is of. 0; -ENOENT: it belongs
 * to none, or to those that have their own, and was closed; another errno. */
int ledger_recovery_take_source(struct ledger_recovery *recovery, int fd);

/* Files without a descriptor get a duplicate of another model's, if it is of the same file: each is
 * stored once. Returns how many are left without one:
 * their layers cannot be loaded again. */
size_t ledger_recovery_share_sources(struct ledger_recovery *recovery);
