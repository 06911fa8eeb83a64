/* The form of the ledger's file: what those that write it (ledger_steps, ledger_definition) and
 * those that read it (ledger_recover and the files below it) share, and nobody else.
 *
 *   0        header, written once
 *   128, 256 the last two steps: that with an odd number at 256
 *   384      the epoch
 *   4096     a record for each model that there may be
 *   69632    for each of the arena's pages: where the extent that begins there goes on
 *   then     for each model its region: its definition, then a record for each of its layers
 *
 * Records are in the machine's own form, because the file never leaves it. What was never written
 * is a hole, zeros, and says that there is no such thing. A removed model's region is given back to
 * the system, not used for another.
 *
 * A step writes its record twice: to its place among the last steps, and then to where it belongs.
 * So a record that was cut off while it was written is written again at recovery, and every other
 * damage is known as such: there is never an older record that could be taken for the newest.
 *
 * A layer's record counts if it is of the current epoch, or leased; a flush is a new epoch. A
 * leased layer survives a flush without a new record, and when its lease ends it gets one.
 *
 * Extents beyond the record are chained by the page that they begin at. Who owns that page owns the
 * place, so that nothing has to be allocated; the places of all pages together would take less than
 * a hundredth of the arena. */
#pragma once

#include "daemon/restart/ledger.h"

enum {
    LEDGER_VERSION = 3, /* of everything here and in ledger_definition.c */
    LEDGER_MODELS_MAX = 1024,
    LEDGER_BLOCK_BYTES = 4096, /* what regions begin at */

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
    uint32_t crc; /* of the header with 0 here */
    uint64_t device, inode, page_bytes, capacity_bytes;
    uint32_t backing, reserved;
};

enum ledger_record_kind { LEDGER_EPOCH = 1, LEDGER_MODEL, LEDGER_LAYER };

enum ledger_record_state {
    LEDGER_ABSENT,
    LEDGER_PRESENT, /* a model that is registered, a layer that is resident; an epoch always */
    LEDGER_LEASED
};

struct ledger_record {
    uint32_t crc; /* of its place and what follows */
    uint8_t kind, state;
    uint16_t n_leases; /* of a layer that is leased */
    uint64_t step;     /* the one that wrote it */
    uint64_t model;    /* whose it is: the step that added the model */
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
    uint32_t crc; /* of its place and what follows, up to the record's own */
    uint32_t reserved;
    uint64_t place; /* where the record belongs */
    uint64_t last_fill_id, loaded_bytes;
    struct ledger_record record;
};

/* Where an extent of a layer with several goes on. */
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

/* A model that the file knows. */
struct ledger_slot {
    const struct model *model;                      /* NULL until ledger_bind */
    uint64_t id;                                    /* 0: the slot is free */
    uint64_t begin_bytes, records_bytes, end_bytes; /* of its region, of its layers' records */
};

struct ledger {
    int fd;
    bool is_void;
    uint64_t step; /* the last one */
    uint64_t epoch;
    uint64_t last_fill_id, loaded_bytes;
    uint64_t end_bytes; /* where the next region begins */
    size_t latest;      /* the slot that was last looked for: most steps are about one model */
    struct ledger_slot slots[LEDGER_MODELS_MAX];
};

/* Where the regions begin. 0; -EINVAL for an arena that cannot be; -EFBIG. */
int ledger_regions_offset(const struct ledger_arena *arena, uint64_t *ret_bytes);

/* The header that belongs to an arena. 0 or a negative errno. */
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

/* Where a region with `n_layers` records begins and ends behind a definition. 0 or -EOVERFLOW. */
int ledger_lay_out(uint64_t begin_bytes, uint64_t definition_bytes, uint32_t n_layers,
                   struct ledger_slot *ret);

/* Claims the file for this process until it is gone with all its threads, or closes any descriptor
 * of it: a killed process may have a thread left that the disk keeps waiting, and that still writes
 * into the arena. Not a lock of the open file, which the store shares. 0; -EBUSY; another errno. */
int ledger_lock(int fd);

/* All of it. 0 or a negative errno; read: -EBADMSG if the file ends before. */
int ledger_write(int fd, uint64_t offset_bytes, const void *from, size_t n_bytes);
int ledger_read(int fd, uint64_t offset_bytes, void *to, size_t n_bytes);
