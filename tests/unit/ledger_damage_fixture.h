/* A ledger to damage, and the refusal of damaged ones. */
#pragma once

#include "daemon/restart/ledger_file.h"
#include "tests/unit/ledger_fixture.h"

enum { ARENA_PAGES = 12 };

static const uint64_t single[LAYERS] = {1, 1, 1, 1, 1, 1, 1, 1}, mixed[LAYERS] = {4, 2, 1};

/* A ledger with some of everything: an unloaded model, layers that a flush evicted or kept, an
 * evicted layer, a layer in four extents. */
static inline void make(struct world *world)
{
    world_init(world, ARENA_PAGES);
    add(world, 0, single, 8);
    add(world, 2, mixed, 1);
    add(world, 1, mixed, 3);
    drop(world, 2);
    for (unsigned i = 0; i < 8; i++)
        ck_assert(load(world, 0, i));
    ck_assert(load(world, 1, 1));
    lease(world, 0, 1, 1);
    lease(world, 1, 1, 3);
    flush(world);
    lease(world, 1, 1, 0);
    for (unsigned i = 0; i < 8; i++)
        if (i != 1)
            ck_assert(load(world, 0, i));
    ck_assert(load(world, 1, 2));
    for (unsigned i = 2; i < 8; i += 2)
        evict(world, 0, i);
    ck_assert(load(world, 1, 0));
    evict(world, 0, 7);
    ck_assert_uint_eq(world->now.models[1].layers[0].n_extents, 4);
}

static inline void assert_refused(int fd, const struct ledger_arena *arena, int error,
                                  const char *reason)
{
    struct ledger *ledger = NULL;
    struct ledger_recovery *recovery = NULL;
    char why[LEDGER_WHY_MAX];
    ck_assert_int_eq(ledger_recover(fd, arena, &ledger, &recovery, why), error);
    ck_assert_ptr_null(ledger);
    ck_assert_ptr_null(recovery);
    ck_assert_msg(strstr(why, reason), "\"%s\" instead of \"%s\"", why, reason);
}
