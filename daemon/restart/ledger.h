/* The ledger: what lies where in the arena, so that the next daemon process finds it again.
 *
 * A memfd beside the arena's in the service manager's file-descriptor store, written with pwrite
 * and never mapped: mapped, it would count as the arena does. The kernel keeps it when a process
 * dies, at whatever moment; that it survives the machine is not asked for.
 *
 * A step is committed when its function has returned. What takes bytes away (evicted, flushed) is
 * to be committed before the pages may be written again, what brings them (loaded) when they are
 * complete. A process that dies inside of a step leaves the state before it or after it. One step
 * is two writes of less than 100 bytes each, however many layers there are; a layer in several
 * extents costs one more for each.
 *
 * A step that cannot be written voids the whole ledger: the next start is a cold one. It returns a
 * negative errno, once; every later step does nothing and returns 0.
 *
 * There is no checksum of the layers' bytes: nobody but this daemon can write them, and to read
 * them again would take longer than a restart may. Loop thread only. */
#pragma once

#include "daemon/scheduler/model.h"

#include <stdbool.h>
#include <stddef.h>

enum { LEDGER_LEASES_MAX = UINT16_MAX };

struct ledger;

/* The arena that a ledger is about. It goes with no other, nor with the same one cut otherwise. */
struct ledger_arena {
    int fd; /* borrowed, during the call only */
    uint64_t page_bytes, capacity_bytes;
    uint32_t backing; /* what else has to be the same; any number */
};

/* A new memfd that knows no models. 0 or a negative errno. */
int ledger_new(const struct ledger_arena *arena, struct ledger **ret);
/* Closes the memfd. What has been stored elsewhere stays as it is. */
struct ledger *ledger_free(struct ledger *ledger);
DEFINE_CLEANUP(struct ledger *, ledger_free);

/* Borrowed. To duplicate it in this process and close that gives up the claim that ledger_recover
 * looks for. */
int ledger_fd(const struct ledger *ledger);

/* A model's number in this ledger, never used twice; 0 if it knows none such. */
uint64_t ledger_model_id(const struct ledger *ledger, const struct model *model);

/* The steps. `model` is known by its address until it is removed; its definition is written down,
 * and its weight files must be open. A removed model has no resident layers. A `fill_id` is a
 * number that no other load of any layer has, in this ledger and in those before it. */
int ledger_add_model(struct ledger *ledger, const struct model *model);
int ledger_remove_model(struct ledger *ledger, const struct model *model);
int ledger_loaded(struct ledger *ledger, const struct layer *layer, uint64_t fill_id);
int ledger_evicted(struct ledger *ledger, const struct layer *layer);
/* So many leases hold a resident layer now; more than LEDGER_LEASES_MAX count as that. What is held
 * outlives a flush. */
int ledger_leased(struct ledger *ledger, const struct layer *layer, uint64_t fill_id,
                  uint32_t n_leases);
/* Every layer is evicted that is not held. */
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
