/* Free memory goes back to the system and comes again, and no page in use is ever touched: the
 * operating system's figures, the bytes, and the ledger say the same. */
#include "daemon/arena/holes.h"
#include "tests/unit/holes_fixture.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

static unsigned char *bytes_of(const struct extent *extent)
{
    return backing_base(backing) + extent->first_page * page;
}

START_TEST(all_of_an_empty_arena)
{
    begin_with(20 * MIB, COMMIT_BOOT);
    uint64_t shmem = status_value("RssShmem:");
    expect_holes(0);
    give();
    expect_holes(20 * MIB);
    ck_assert_uint_eq(holes_stats(holes).given_bytes, 20 * MIB);
    expect_near(status_value("RssShmem:"), shmem - 20 * MIB, lag_bytes());
    ck_assert(!holes_give(holes)); /* there is no more */
    ck_assert_int_eq(file_of().st_size, 20 * MIB);

    take(5 * MIB + 1);
    expect_holes(15 * MIB);
    ck_assert(!holes_take(holes, backing_unit_bytes(backing) - 1));
    take(UINT64_MAX);
    expect_holes(0);
    ck_assert_uint_eq(holes_stats(holes).taken_bytes, 20 * MIB);
    expect_near(status_value("RssShmem:"), shmem, lag_bytes());
    ck_assert(!holes_take(holes, UINT64_MAX));
}
END_TEST

/* While a slice is on its way the ledger allows for it, and does not count it as committed. */
START_TEST(the_ledger_meanwhile)
{
    begin_with(20 * MIB, COMMIT_BOOT);
    ck_assert(holes_give(holes));
    ck_assert_uint_eq(backing_pending_bytes(backing), 2 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(backing), 18 * MIB);
    ck_assert(holes_give(holes)); /* changes nothing */
    ck_assert_uint_eq(backing_pending_bytes(backing), 2 * MIB);
    until_idle();
    expect_holes(20 * MIB);
}
END_TEST

START_TEST(what_is_in_use_stays)
{
    struct allocation used[3] = {0};
    begin_with(20 * MIB, COMMIT_BOOT);
    write_pattern(20 * MIB);
    uint64_t unit_pages = backing_unit_bytes(backing) / page;
    ck_assert_int_eq(arena_alloc(arena, 4 * MIB / page + 1, &used[0]), 0); /* a page too much */
    ck_assert_int_eq(arena_alloc(arena, 2 * unit_pages - 2, &used[1]), 0); /* no whole unit */
    ck_assert_int_eq(arena_alloc(arena, 3, &used[2]), 0);
    arena_release(arena, &used[1]);
    give();
    uint64_t end_units = (used[2].first_page + 3 + unit_pages - 1) / unit_pages;
    expect_holes(20 * MIB - end_units * backing_unit_bytes(backing));
    ck_assert(has_pattern(0, 4 * MIB + page));
    uint64_t begin_bytes = used[2].first_page * page;
    ck_assert(has_pattern(begin_bytes, begin_bytes + 3 * page));
    /* It lies across two units. */
    arena_release(arena, &used[0]);
    give();
    ck_assert(has_pattern(begin_bytes, begin_bytes + 3 * page));
    expect_holes(20 * MIB - 2 * backing_unit_bytes(backing));
    arena_release(arena, &used[2]);
    take(UINT64_MAX);
    expect_holes(0);
}
END_TEST

START_TEST(below_the_mark_only)
{
    begin_with(20 * MIB, COMMIT_LOAD);
    ck_assert(!holes_give(holes));
    struct allocation used = {0};
    ck_assert_int_eq(arena_alloc(arena, 6 * MIB / page + 1, &used), 0);
    grow_and_commit(6 * MIB + page);
    ck_assert(!holes_give(holes));
    arena_release(arena, &used);
    give();
    expect_holes(6 * MIB);
    take(UINT64_MAX);
    expect_holes(0);
}
END_TEST

START_TEST(a_fill_waits_for_its_pages)
{
    struct holes_wait wait = {.ready = on_ready};
    struct allocation used = {0}, other = {0};
    begin_with(20 * MIB, COMMIT_BOOT);
    ck_assert_int_eq(arena_alloc(arena, MIB / page, &other), 0);
    ck_assert(!holes_await(holes, &wait, &other)); /* nothing lacks memory */
    give();
    expect_holes(19 * MIB);
    ck_assert(!holes_await(holes, &wait, &other));
    /* 9 MiB and a page: several slices, and one unit of which it needs a page only. */
    ck_assert_int_eq(arena_alloc(arena, 9 * MIB / page + 1, &used), 0);
    ck_assert(holes_await(holes, &wait, &used));
    ck_assert_uint_eq(n_ready, 0);
    while (n_ready == 0)
        dispatch();
    ck_assert_int_eq(ready_error, 0);
    expect_holes(10 * MIB - backing_unit_bytes(backing));
    memset(bytes_of(allocation_extents(&used)), 0xa5, used.n_pages * page);
    expect_holes(10 * MIB - backing_unit_bytes(backing)); /* writing has added no page */
    arena_release(arena, &used);
    arena_release(arena, &other);
}
END_TEST

/* Its pages are just being given back: what it writes then stays. */
START_TEST(a_fill_waits_for_the_slice)
{
    struct holes_wait waits[2] = {{.ready = on_ready}, {.ready = on_ready}};
    struct allocation used[2] = {0};
    for (unsigned i = 0; i < 8; i++) {
        begin_with(20 * MIB, COMMIT_BOOT);
        ck_assert(holes_give(holes));
        for (unsigned k = 0; k < 2; k++) {
            ck_assert_int_eq(arena_alloc(arena, MIB / page, &used[k]), 0);
            ck_assert(holes_await(holes, &waits[k], &used[k]));
        }
        while (n_ready < 2)
            dispatch();
        ck_assert_int_eq(ready_error, 0);
        for (unsigned k = 0; k < 2; k++)
            memset(bytes_of(allocation_extents(&used[k])), 0x5a, MIB);
        give();
        expect_holes(18 * MIB);
        for (unsigned k = 0; k < 2; k++) {
            for (uint64_t at = 0; at < MIB; at += page)
                ck_assert_uint_eq(bytes_of(allocation_extents(&used[k]))[at], 0x5a);
            arena_release(arena, &used[k]);
        }
        for (unsigned k = 0; k < 2; k++)
            allocation_done(&used[k]);
        end();
    }
}
END_TEST

/* The file is cut short, so that its pages cannot be had. */
START_TEST(memory_cannot_be_taken)
{
    struct holes_wait wait = {.ready = on_ready};
    struct allocation used = {0};
    begin_with(20 * MIB, COMMIT_BOOT);
    give();
    ck_assert_int_eq(ftruncate(backing_fd(backing), 1 << 20), 0);
    take(UINT64_MAX);
    ck_assert_int_eq(idle_error, -ENOMEM);
    expect_holes(20 * MIB); /* nothing of the slice stays */
    ck_assert_int_eq(arena_alloc(arena, 2 * MIB / page, &used), 0);
    ck_assert(holes_await(holes, &wait, &used));
    while (n_ready == 0)
        dispatch();
    ck_assert_int_eq(ready_error, -ENOMEM);
    expect_holes(20 * MIB);
    ck_assert_int_eq(ftruncate(backing_fd(backing), 20 << 20), 0);
    ck_assert(holes_await(holes, &wait, &used));
    while (n_ready == 1)
        dispatch();
    ck_assert_int_eq(ready_error, 0);
    expect_holes(18 * MIB);
    take(UINT64_MAX);
    ck_assert_int_eq(idle_error, 0);
    expect_holes(0);
    arena_release(arena, &used);
}
END_TEST

START_TEST(the_end_cancels_waits)
{
    struct holes_wait wait = {.ready = on_ready};
    struct allocation used = {0};
    begin_with(20 * MIB, COMMIT_BOOT);
    ck_assert(holes_give(holes));
    ck_assert_int_eq(arena_alloc(arena, MIB / page, &used), 0);
    ck_assert(holes_await(holes, &wait, &used));
    holes_stop(holes);
    ck_assert_uint_eq(n_ready, 1);
    ck_assert_int_eq(ready_error, -ECANCELED);
    ck_assert(!holes_give(holes) || backing_pending_bytes(backing) > 0);
    workers = workers_free(workers); /* the slice ends, and none follows */
    ck_assert_uint_eq(n_idle, 0);
    ck_assert_uint_eq(backing_pending_bytes(backing), 0);
    ck_assert_uint_eq(file_bytes(), backing_committed_bytes(backing));
    arena_release(arena, &used);
}
END_TEST

/* The last unit of an odd capacity is no whole one. */
START_TEST(an_odd_capacity)
{
    struct holes_wait wait = {.ready = on_ready};
    struct allocation used = {0};
    begin_with(3 * MIB + page, COMMIT_BOOT);
    give();
    expect_holes(3 * MIB);
    ck_assert_int_eq(arena_alloc(arena, arena_capacity_pages(arena), &used), 0);
    ck_assert(holes_await(holes, &wait, &used));
    while (n_ready == 0)
        dispatch();
    expect_holes(0);
    arena_release(arena, &used);
}
END_TEST

START_TEST(whole_huge_pages_only)
{
    struct allocation used = {0};
    make(32 * MIB, HUGE_PAGES_AUTO, COMMIT_BOOT);
    if (strcmp(backing_name(backing), "transparent-huge-pages") != 0)
        return; /* this machine gives none: test_memory.HugePages sets it up */
    begin();
    uint64_t huge_bytes = backing_unit_bytes(backing);
    ck_assert_uint_ge(huge_bytes, MIB);
    ck_assert_int_eq(arena_alloc(arena, huge_bytes / page + 1, &used), 0);
    write_pattern(huge_bytes + page);
    give();
    expect_holes(32 * MIB - 2 * huge_bytes);
    ck_assert(has_pattern(0, huge_bytes + page));
    take(UINT64_MAX);
    expect_holes(0);
    arena_release(arena, &used);
}
END_TEST

/* Random layers come and go while memory is given and taken, at any moment. */
START_TEST(random_sequences)
{
    enum { LAYERS = 24, STEPS = 800 };
    struct layer {
        struct allocation allocation;
        struct holes_wait wait;
        bool is_filled;
    } layers[LAYERS] = {0};
    ck_assert(random_begin());
    begin_with(12 * MIB + 3 * page, COMMIT_BOOT);
    for (unsigned i = 0; i < STEPS; i++) {
        struct layer *layer = &layers[random_below(LAYERS)];
        if (!arena_holds(arena, &layer->allocation)) {
            *layer = (struct layer){.allocation = layer->allocation, .wait.ready = on_ready};
            if (arena_alloc(arena, 1 + random_below(2 * MIB / page), &layer->allocation) == 0)
                holes_await(holes, &layer->wait, &layer->allocation);
        } else if (!layer->wait.holes && !layer->is_filled) {
            for (const struct extent *e = allocation_extents(&layer->allocation);
                 e < allocation_end(&layer->allocation); e++)
                memset(bytes_of(e), (int)(layer - layers) + 1, e->n_pages * page);
            layer->is_filled = true;
        } else if (!layer->wait.holes) {
            for (const struct extent *e = allocation_extents(&layer->allocation);
                 e < allocation_end(&layer->allocation); e++)
                for (uint64_t at = 0; at < e->n_pages * page; at += 511)
                    ck_assert_int_eq(bytes_of(e)[at], (int)(layer - layers) + 1);
            arena_release(arena, &layer->allocation);
        }
        uint64_t what = random_below(8);
        if (what == 0)
            holes_give(holes);
        else if (what == 1)
            holes_take(holes, random_below(4 * MIB));
        else if (what < 5)
            workers_dispatch(workers);
        ck_assert_uint_le(file_bytes(), backing_capacity_bytes(backing));
    }
    for (unsigned i = 0; i < LAYERS; i++)
        while (layers[i].wait.holes)
            dispatch();
    take(UINT64_MAX);
    expect_holes(0);
    for (unsigned i = 0; i < LAYERS; i++) {
        arena_release(arena, &layers[i].allocation);
        allocation_done(&layers[i].allocation);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holes");
    TCase *tcase = tcase_create("holes");
    tcase_add_checked_fixture(tcase, setup, tear_all_down);
    tcase_add_test(tcase, all_of_an_empty_arena);
    tcase_add_test(tcase, the_ledger_meanwhile);
    tcase_add_test(tcase, what_is_in_use_stays);
    tcase_add_test(tcase, below_the_mark_only);
    tcase_add_test(tcase, a_fill_waits_for_its_pages);
    tcase_add_test(tcase, a_fill_waits_for_the_slice);
    tcase_add_test(tcase, memory_cannot_be_taken);
    tcase_add_test(tcase, the_end_cancels_waits);
    tcase_add_test(tcase, an_odd_capacity);
    tcase_add_test(tcase, whole_huge_pages_only);
    tcase_add_test(tcase, random_sequences);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
