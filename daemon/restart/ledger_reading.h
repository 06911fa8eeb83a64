/* A ledger's file while it is read: what ledger_recover.c shares with ledger_layers.c, and nobody
 * else. Everything returns 0 or a negative errno, -EBADMSG with the reason. */
#pragma once

#include "daemon/restart/ledger_file.h"

enum { LEDGER_BATCH = 1024 /* records read at once */ };

/* A layer while its extents are not known yet. */
struct ledger_found {
    struct ledger_recovered_layer layer;
    uint64_t first_page, n_pages;
    uint32_t n_extents;
};

struct ledger_reading {
    struct ledger *ledger; /* what is being made */
    struct ledger_recovery *recovery;
    const struct ledger_arena *arena;
    uint64_t file_bytes, regions_bytes;
    struct ledger_found *found;
    size_t n_found_max, n_extents_max;
    struct ledger_record batch[LEDGER_BATCH];
    char *why;
};

bool ledger_is_zero(const void *bytes, size_t n_bytes);

/* Returns `error` with a reason. */
int ledger_refuse(const struct ledger_reading *reading, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* 1; 0 for one that was never written; -EBADMSG. */
int ledger_check_record(const struct ledger_reading *reading, const struct ledger_record *record,
                        uint64_t place, enum ledger_record_kind kind);

/* Of a model that is there. */
const struct ledger_slot *ledger_slot_of(const struct ledger *ledger, uint64_t id);
