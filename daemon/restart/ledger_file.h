/* The layout of the ledger's file. Only the writers (ledger_steps, ledger_definition) and the
 * readers (ledger_recover and the files below it) may include it.
 *
 *   0        header, written once
 *   128, 256 the last two steps: the one with an odd number at 256
 *   384      the epoch
 *   4096     a record for each of LEDGER_MODELS_MAX models
 *   69632    a link for each page of the arena: where the extent that begins at that page goes on
 *   then     a region for each model: its definition, then a record for each of its layers
 *
 * Records use the machine's own byte order, because the file never leaves the machine. A record
 * that was never written is a hole of zeros, and means that the model or layer is absent. When a
 * model is removed, its region's memory goes back to the system, and no other model uses the
 * region. Regions consist of whole pages of the system, because only those can go back.
 *
 * A step writes its record twice: first among the last two steps, and then in the record's own
 * place. If the process died while it wrote the second copy, recovery writes it again. Recovery
 * detects every other damage, and it never takes an older record for the newest.
 *
 * A layer's record counts if it is of the current epoch, or if the layer is leased. A flush starts
 * a new epoch. A leased layer survives a flush without a new record, and gets one when its lease
 * ends.
 *
 * The extents of a layer with several form a chain of links. A link's place belongs to the page at
 * which its extent begins, so whoever owns the page owns the link, and no link has to be allocated.
 * The links of all pages together would take less than a hundredth of the arena. */
#pragma once

#include "daemon/restart/ledger.h"

enum {
    LEDGER_VERSION = 3, /* of all that this file and ledger_definition.c lay out */
    LEDGER_MODELS_MAX = 1024,
    LEDGER_BLOCK_BYTES = 4096, /* links are written by blocks */

    LEDGER_STEPS_OFFSET = 128,
    LEDGER_STEP_STRIDE = 128,
    LEDGER_EPOCH_OFFSET = 384,
    LEDGER_MODELS_OFFSET = 4096,
    LEDGER_EXTENTS_OFFSET = LEDGER_MODELS_OFFSET + LEDGER_MODELS_MAX * 64
};

#define LEDGER_MAGIC UINT64_C(0x72656764654c4d45) /* "EMLedger" on a little-endian machine */

struct ledger_header {
    uint64_t magic;
    uint32_t version;
    uint32_t crc; /* of the header, with 0 in this member */
    uint64_t device, inode, page_bytes, capacity_bytes;
    uint32_t backing, reserved;
};

enum ledger_record_kind { LEDGER_EPOCH = 1, LEDGER_MODEL, LEDGER_LAYER };

enum ledger_record_state {
    LEDGER_ABSENT,
    LEDGER_PRESENT, /* a registered model or a resident layer; an epoch is always present */
    LEDGER_LEASED,
    LEDGER_MAPPED /* leased, and the clients of all its leases have locks (client_locks.h) */
};

struct ledger_record {
    uint32_t crc; /* of its place and what follows */
    uint8_t kind, state;
    uint16_t n_leases; /* of a layer that is leased or mapped */
    uint64_t step;     /* the step that wrote the record */
    uint64_t model;    /* its model's number: the number of the step that added the model */
    union {
        struct {
            uint64_t begin_bytes, definition_bytes, end_bytes; /* the region */
            uint32_t definition_crc, n_layers;
        } model_; /* when present */
        struct {
            uint64_t epoch, fill_id, first_page, n_pages;
            uint32_t n_extents, index;
        } layer; /* when resident */
        uint64_t epoch;
        uint64_t words[5];
    };
};

struct ledger_step {
    uint32_t crc; /* of its place and of what follows, up to the record's `crc` */
    uint32_t reserved;
    uint64_t place; /* the record's own place */
    uint64_t last_fill_id, loaded_bytes;
    struct ledger_record record;
};

/* One extent of a layer that has several, and where the next one begins. */
struct ledger_link {
    uint32_t crc; /* of its place and what follows */
    uint32_t reserved;
    uint64_t fill_id;
    uint64_t n_pages;
    uint64_t next_page; /* UINT64_MAX after the last */
};

_Static_assert(sizeof(struct ledger_header) == 56, "no padding");
_Static_assert(sizeof(struct ledger_record) == 64, "no padding");
_Static_assert(sizeof(struct ledger_step) == 96, "no padding, and room between two");
_Static_assert(sizeof(struct ledger_link) == 32, "no padding");

/* The most steps, epochs and fills that a ledger may have counted when it is recovered: a forged
 * one must not have counts that begin again at 0 in its next life. */
#define LEDGER_COUNT_MAX (UINT64_MAX / 2)

/* A model that the file knows. */
struct ledger_slot {
    const struct model *model;                      /* NULL until ledger_bind */
    uint64_t id;                                    /* 0: the slot is free */
    uint64_t begin_bytes, records_bytes, end_bytes; /* of its region; of its layers' records */
};

struct ledger {
    int fd;
    bool is_void;
    uint64_t step; /* of the last step */
    uint64_t epoch;
    uint64_t last_fill_id, loaded_bytes;
    _Atomic uint64_t end_bytes; /* where the next region begins; drafts take their place here */
    size_t latest; /* the last slot used: successive steps are mostly about one model */
    struct ledger_slot slots[LEDGER_MODELS_MAX];
};

/* Computes where the regions begin. Returns 0; -EINVAL for an impossible arena; -EFBIG. */
int ledger_regions_offset(const struct ledger_arena *arena, uint64_t *ret_bytes);

/* Makes the header for an arena. Returns 0 or a negative errno. */
int ledger_make_header(const struct ledger_arena *arena, struct ledger_header *ret);

uint32_t ledger_header_crc(const struct ledger_header *header);
uint32_t ledger_record_crc(const struct ledger_record *record, uint64_t place);
uint32_t ledger_step_crc(const struct ledger_step *step);
uint32_t ledger_link_crc(const struct ledger_link *link, uint64_t place);

static inline uint64_t ledger_step_place(uint64_t step)
{
    return LEDGER_STEPS_OFFSET + (step & 1) * LEDGER_STEP_STRIDE;
}

static inline uint64_t ledger_model_place(size_t slot)
{
    return LEDGER_MODELS_OFFSET + slot * sizeof(struct ledger_record);
}

static inline uint64_t ledger_layer_place(const struct ledger_slot *slot, uint32_t index)
{
    return slot->records_bytes + index * sizeof(struct ledger_record);
}

static inline uint64_t ledger_link_place(uint64_t page)
{
    return LEDGER_EXTENTS_OFFSET + page * sizeof(struct ledger_link);
}

/* Computes where a region's `n_layers` records begin behind its definition, and where the region
 * ends. Returns 0 or -EOVERFLOW. */
int ledger_lay_out(uint64_t begin_bytes, uint64_t definition_bytes, uint32_t n_layers,
                   struct ledger_slot *ret);

/* Claims the file for this process. The claim ends when the last thread of the process is gone, or
 * when the process closes any descriptor of the file. It is needed because a killed process may
 * still have a thread that waits for the disk, and that thread still writes into the arena. It is a
 * lock of the process, not of the open file, because the store shares the open file. Returns 0;
 * -EBUSY; another errno. */
int ledger_lock(int fd);

/* Write or read all `n_bytes`. They return 0 or a negative errno; ledger_read: -EBADMSG if the file
 * ends before. */
int ledger_write(int fd, uint64_t offset_bytes, const void *from, size_t n_bytes);
int ledger_read(int fd, uint64_t offset_bytes, void *to, size_t n_bytes);
