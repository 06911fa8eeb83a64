/* A ledger's file while it is read. Only ledger_recover.c and ledger_layers.c share it. All
 * functions that return an error return a negative errno; with -EBADMSG they also set the
 * reason. */
#pragma once

#include "daemon/restart/ledger_file.h"

enum { LEDGER_BATCH = 1024 /* records read at once */ };

/* A layer whose extents are not known yet. */
struct ledger_found {
    struct ledger_recovered_layer layer;
    uint64_t first_page, n_pages;
    uint32_t n_extents;
};

struct ledger_reading {
    struct ledger *ledger; /* the ledger that is being made */
    struct ledger_recovery *recovery;
    const struct ledger_arena *arena;
    uint64_t file_bytes, regions_bytes;
    struct ledger_found *found;
    size_t n_found_max, n_extents_max;
    struct ledger_record batch[LEDGER_BATCH];
    const struct ledger_slot *regions[LEDGER_MODELS_MAX]; /* of the models, by their places */
    char *why;
};

bool ledger_is_zero(const void *bytes, size_t n_bytes);

/* Sets the reason and returns `error`. */
int ledger_refuse(const struct ledger_reading *reading, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns 1 for a good record, 0 for one that was never written, -EBADMSG for any other. */
int ledger_check_record(const struct ledger_reading *reading, const struct ledger_record *record,
                        uint64_t place, enum ledger_record_kind kind);

/* The model must be in the ledger. */
const struct ledger_slot *ledger_slot_of(const struct ledger *ledger, uint64_t id);
