/* Holes in the memory of an arena, with a worker, and what the figures say of them. The fixture is
 * `setup` and `tear_all_down`. */
#pragma once

#include "daemon/arena/holes.h"
#include "daemon/system/workers.h"
#include "tests/unit/backing_fixture.h"

#include <errno.h>
#include <poll.h>

static struct arena *arena;
static struct workers *workers;
static struct holes *holes;
static unsigned n_idle, n_ready;
static int idle_error, ready_error;

static inline void on_idle(int error, void *context)
{
    (void)context;
    n_idle++;
    idle_error = error;
}

static inline void on_ready(int error, void *context)
{
    (void)context;
    n_ready++;
    ready_error = error;
}

static inline void end(void)
{
    if (holes)
        holes_stop(holes);
    workers = workers_free(workers);
    holes = holes_free(holes);
    arena = arena_free(arena);
}

static inline void tear_all_down(void)
{
    end();
    teardown();
}

/* On the backing that there is. */
static inline void begin(void)
{
    ck_assert_int_eq(arena_new(backing_capacity_bytes(backing), page, &arena), 0);
    ck_assert_int_eq(workers_new(1, false, &workers), 0);
    ck_assert_int_eq(holes_new(backing, arena, workers, &holes), 0);
    holes_on_idle(holes, on_idle, NULL);
    n_idle = n_ready = 0;
}

static inline void begin_with(uint64_t capacity_bytes, enum commit commit)
{
    make(capacity_bytes, HUGE_PAGES_NEVER, commit);
    begin();
}

static inline void dispatch(void)
{
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    ck_assert_int_eq(poll(&ready, 1, -1), 1);
    workers_dispatch(workers);
}

static inline void until_idle(void)
{
    for (unsigned n = n_idle; n_idle == n;)
        dispatch();
}

/* Everything is at rest, and all figures agree. */
static inline void expect_holes(uint64_t n_bytes)
{
    ck_assert_uint_eq(holes_stats(holes).bytes, n_bytes);
    ck_assert_uint_eq(backing_hole_bytes(backing), n_bytes);
    ck_assert_uint_eq(backing_committed_bytes(backing), backing_mark_bytes(backing) - n_bytes);
    ck_assert_uint_eq(backing_pending_bytes(backing), 0);
    ck_assert_uint_eq(file_bytes(), backing_committed_bytes(backing));
}

static inline void give(void)
{
    if (holes_give(holes))
        until_idle();
    ck_assert_int_eq(idle_error, 0);
}

static inline void take(uint64_t max_bytes)
{
    if (holes_take(holes, max_bytes))
        until_idle();
}
