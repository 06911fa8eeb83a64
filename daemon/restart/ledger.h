/* The ledger records which layer lies where in the arena, so that the next daemon process finds it
 * again.
 *
 * It is a memfd, and lies beside the arena's in the service manager's file-descriptor store. It is
 * written with pwrite and never mapped, because a mapping would count in the RSS. The kernel keeps
 * it whenever a process dies. It does not survive a reboot, and need not.
 *
 * A step is committed when its function has returned. The caller commits a step that frees pages
 * (evicted, flushed) before it writes to them again, and a step that fills pages (loaded) after
 * they are complete. A process that dies within a step leaves the state before the step or after
 * it. One step is two writes of less than 100 bytes each, however many layers there are; for a
 * layer in several extents, the blocks with its links are written as well, 4 KiB each.
 *
 * If a step cannot be written, the whole ledger becomes void, and the next start is cold. That step
 * returns a negative errno; every later step does nothing and returns 0.
 *
 * The ledger has no checksum of the layers' bytes, because only this daemon can write them, and
 * because reading them all would take longer than a restart may. Loop thread only. */
#pragma once

#include "daemon/scheduler/model.h"

#include <stdbool.h>
#include <stddef.h>

enum { LEDGER_LEASES_MAX = UINT16_MAX };

struct ledger;

/* The arena that a ledger describes. The ledger is useless with another arena, or with this arena
 * at another capacity or page size. */
struct ledger_arena {
    int fd; /* borrowed, during the call only */
    uint64_t page_bytes, capacity_bytes;
    uint32_t backing; /* any number; it must be the same, too */
};

/* Creates an empty ledger in a new memfd. Returns 0 or a negative errno. */
int ledger_new(const struct ledger_arena *arena, struct ledger **ret);
/* Closes the memfd. Duplicates in the descriptor store stay open. */
struct ledger *ledger_free(struct ledger *ledger);
DEFINE_CLEANUP(struct ledger *, ledger_free);

/* Borrowed. Do not close a duplicate of it in this process: that would give up the claim that
 * ledger_recover looks for. */
int ledger_fd(const struct ledger *ledger);

/* Returns the model's number in this ledger, or 0 if the ledger does not have the model. No number
 * is used twice. */
uint64_t ledger_model_id(const struct ledger *ledger, const struct model *model);

/* The steps. The ledger knows a model by its address until the model is removed. ledger_add_model
 * writes down the model's definition, and the model's weight files must be open. A model must have
 * no resident layers when it is removed. Each load of a layer has a `fill_id` of its own, which no
 * other load has in this ledger or in those before it. */
int ledger_add_model(struct ledger *ledger, const struct model *model);
/* The same in two steps, so that a worker can write down the definition: any thread may make the
 * draft. ledger_add_drafted frees it. A draft whose model is not added is dropped, which gives its
 * memory back. ledger_draft returns NULL if it cannot write: ledger_add_model then fails, too. */
struct ledger_draft;
struct ledger_draft *ledger_draft(struct ledger *ledger, const struct definition *definition);
int ledger_add_drafted(struct ledger *ledger, const struct model *model,
                       struct ledger_draft *draft);
struct ledger_draft *ledger_draft_drop(struct ledger *ledger, struct ledger_draft *draft);
int ledger_remove_model(struct ledger *ledger, const struct model *model);
int ledger_loaded(struct ledger *ledger, const struct layer *layer, uint64_t fill_id);
int ledger_evicted(struct ledger *ledger, const struct layer *layer);
/* Writes down how many leases hold a resident layer now, at most LEDGER_LEASES_MAX, and whether the
 * clients of all of them have locks. A flush keeps leased layers. */
int ledger_leased(struct ledger *ledger, const struct layer *layer, uint64_t fill_id,
                  uint32_t n_leases, bool is_mapped);
/* Every layer without a lease was evicted. */
int ledger_flushed(struct ledger *ledger);

/* What a ledger says, after all checks: extents lie in the arena, no two overlap, and each layer
 * has exactly the pages that it needs. */
struct ledger_recovery {
    struct ledger_recovered_model {
        struct definition *definition; /* its files have no descriptors yet */
        uint64_t id;                   /* see ledger_model_id */
        struct ledger_source {
            uint64_t device, inode;
        } * sources; /* the files that it was loaded from */
    } * models;      /* in the order in which they were registered */
    struct ledger_recovered_layer {
        uint64_t fill_id;
        uint64_t step; /* the last step about it */
        uint32_t model, index;
        uint32_t n_leases;
        bool is_mapped; /* the clients of all its leases have locks; see client_locks.h */
    } * layers; /* the resident ones, in the order of their last steps, which is nearly that of
                   their last uses */
    struct ledger_recovered_extent {
        uint64_t first_page, n_pages;
        size_t layer;
    } * extents; /* by address */
    size_t n_models, n_layers, n_extents;
    uint64_t last_fill_id; /* the largest so far */
    uint64_t loaded_bytes; /* weights of all committed loads */
};

enum { LEDGER_WHY_MAX = 256 };

/* Reads the ledger in `fd`, and continues to write it. Takes `fd`, also on failure. Returns 0;
 * -EBADMSG (a check failed), -ESTALE (another version, arena, capacity or backing), -EBUSY (some
 * thread of the process that wrote it still exists), -ENOMEM or another errno. On failure `ret_why`
 * gives the reason in words. The caller must give every model to ledger_bind before the next step,
 * and must release the recovery with ledger_recovery_free. */
int ledger_recover(int fd, const struct ledger_arena *arena, struct ledger **ret,
                   struct ledger_recovery **ret_recovery, char ret_why[static LEDGER_WHY_MAX]);
struct ledger_recovery *ledger_recovery_free(struct ledger_recovery *recovery);
DEFINE_CLEANUP(struct ledger_recovery *, ledger_recovery_free);

/* Says that the model with that number lives at this address. */
void ledger_bind(struct ledger *ledger, uint64_t model_id, const struct model *model);

/* Takes a descriptor that was stored, and gives it to a model's file that it is open on. Returns 0;
 * -ENOENT: no file lacks this descriptor, and it was closed; another errno. */
int ledger_recovery_take_source(struct ledger_recovery *recovery, int fd);

/* Each weight file is stored once. So if a model's file has no descriptor, and another model uses
 * the same weight file, the file gets a duplicate of that model's descriptor. Returns how many
 * files still have none: their layers cannot be loaded again. */
size_t ledger_recovery_share_sources(struct ledger_recovery *recovery);
