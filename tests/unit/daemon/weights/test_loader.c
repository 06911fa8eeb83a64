/* Fills with a real arena and backing: which bytes are written, what is committed and when, and the
 * state after a cancellation. If the order matters, a job of the test holds the only worker. */
#include "daemon/weights/loader.h"
#include "tests/unit/loader_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>

/* Of `bytes` bytes. */
static struct layer *layer_of(unsigned i, uint64_t bytes)
{
    bench.definitions[i].bytes = bytes;
    return &bench.layers[i];
}

static uint64_t file_bytes(void)
{
    struct stat status;
    ck_assert_int_eq(fstat(backing_fd(bench.backing), &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

START_TEST(zeroes_whole_pages_and_nothing_else)
{
    begin(8 * MIB, COMMIT_BOOT, IO_AUTO, 2);
    unsigned char *base = backing_base(bench.backing);
    memset(base, 0xab, 8 * MIB);
    ck_assert_int_eq(fill(layer_of(0, 3 * MIB + 5)), 0);
    ck_assert(all(base, 0, 3 * MIB + page));
    ck_assert(all(base + 3 * MIB + page, 0xab, 5 * MIB - page));
    ck_assert_uint_eq(bench.n_done[0], 1);
    ck_assert_uint_eq(loader_progress_bytes(&bench.layers[0]), 0);
}
END_TEST

START_TEST(several_extents)
{
    begin(8 * MIB, COMMIT_BOOT, IO_AUTO, 2);
    unsigned char *base = backing_base(bench.backing);
    for (unsigned i = 0; i < 7; i++)
        reserve(layer_of(i, MIB + page));
    release(&bench.layers[1]);
    release(&bench.layers[3]);
    release(&bench.layers[5]);
    memset(base, 0xcd, 8 * MIB);
    ck_assert_int_eq(fill(layer_of(7, 3 * MIB + 2 * page + 1)), 0);
    ck_assert_uint_gt(allocation_n_extents(&bench.layers[7].allocation), 1);
    for (unsigned i = 0; i < 7; i++)
        ck_assert(all(base + i * (MIB + page), i % 2 ? 0 : 0xcd, MIB + page));
    ck_assert(all(base + 7 * (MIB + page), 0xcd, MIB - 7 * page));
}
END_TEST

START_TEST(load_commits_the_layers_pages)
{
    begin(8 * MIB, COMMIT_LOAD, IO_AUTO, 2);
    start(layer_of(0, 2 * MIB + 1));
    ck_assert_uint_eq(backing_pending_bytes(bench.backing), 2 * MIB + page);
    await(&bench.layers[0]);
    ck_assert_uint_eq(backing_committed_bytes(bench.backing), 2 * MIB + page);
    ck_assert_uint_eq(backing_pending_bytes(bench.backing), 0);
    ck_assert_uint_eq(file_bytes(), 2 * MIB + page);

    /* Old dirty pages and new pages in one layer. */
    memset(backing_base(bench.backing), 0xee, 2 * MIB);
    release(&bench.layers[0]);
    ck_assert_int_eq(fill(layer_of(1, 5 * MIB)), 0);
    ck_assert(all(backing_base(bench.backing), 0, 5 * MIB));
    ck_assert_uint_eq(backing_committed_bytes(bench.backing), 5 * MIB);
    ck_assert_uint_eq(file_bytes(), 5 * MIB);
    ck_assert_uint_eq(arena_high_water_pages(bench.arena) * page, 5 * MIB);
}
END_TEST

START_TEST(two_in_flight_account_for_their_own)
{
    begin(8 * MIB, COMMIT_LOAD, IO_AUTO, 1);
    hold_begin(1);
    start(layer_of(0, 2 * MIB));
    start(layer_of(1, 3 * MIB));
    ck_assert_uint_eq(backing_pending_bytes(bench.backing), 5 * MIB);
    loader_cancel(bench.loader, &bench.layers[0]);
    hold_end();
    await(&bench.layers[0]);
    await(&bench.layers[1]);
    ck_assert_int_eq(bench.result[0], -ECANCELED);
    ck_assert_int_eq(bench.result[1], 0);
    ck_assert_uint_eq(backing_committed_bytes(bench.backing), 5 * MIB);
    ck_assert_uint_eq(file_bytes(), 5 * MIB);
}
END_TEST

START_TEST(cancelled_fill_commits_but_does_not_write)
{
    begin(8 * MIB, COMMIT_LOAD, IO_AUTO, 1);
    ck_assert_int_eq(fill(layer_of(0, 2 * MIB)), 0);
    unsigned char *base = backing_base(bench.backing);
    memset(base, 0xab, 2 * MIB);
    release(&bench.layers[0]);

    hold_begin(1);
    start(layer_of(1, 4 * MIB));
    loader_cancel(bench.loader, &bench.layers[1]);
    ck_assert_uint_eq(bench.n_done[1], 0); /* its pages are still its own */
    hold_end();
    ck_assert_int_eq(await(&bench.layers[1]), -ECANCELED);
    ck_assert(all(base, 0xab, 2 * MIB));
    ck_assert_uint_eq(file_bytes(), 4 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(bench.backing), 4 * MIB);
    ck_assert_uint_eq(backing_pending_bytes(bench.backing), 0);
    loader_cancel(bench.loader, &bench.layers[1]); /* of no fill: nothing */
}
END_TEST

START_TEST(cancelled_in_the_middle)
{
    begin(8 * MIB, COMMIT_BOOT, IO_AUTO, 1);
    unsigned char *base = backing_base(bench.backing);
    memset(base, 0xab, 8 * MIB);
    /* One thread does one step at a time: the second step of the hold was queued before the fill,
     * and its third comes after the first step of the fill. */
    hold_begin(3);
    start(layer_of(0, 4 * MIB));
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(loader_progress_bytes(&bench.layers[0]), 0);
        hold_next_step();
    }
    ck_assert_uint_eq(loader_progress_bytes(&bench.layers[0]), MIB);
    loader_cancel(bench.loader, &bench.layers[0]);
    hold_end();
    ck_assert_int_eq(await(&bench.layers[0]), -ECANCELED);
    ck_assert(all(base, 0, MIB));
    ck_assert(all(base + MIB, 0xab, 7 * MIB));
}
END_TEST

START_TEST(progress_counts_chunks_and_ends_at_the_layers_bytes)
{
    begin(8 * MIB, COMMIT_BOOT, IO_AUTO, 1);
    uint64_t bytes = 2 * MIB + 100;
    hold_begin(1);
    start(layer_of(0, bytes));
    ck_assert_uint_eq(loader_progress_bytes(&bench.layers[0]), 0);
    sem_post(&hold.proceed);
    struct pollfd ready = {.fd = workers_fd(bench.workers), .events = POLLIN};
    uint64_t last = 0, progress;
    do {
        progress = loader_progress_bytes(&bench.layers[0]);
        ck_assert_uint_ge(progress, last);
        ck_assert(progress % MIB == 0 || progress == bytes);
        last = progress;
    } while (progress < bytes);
    ck_assert_int_eq(poll(&ready, 1, -1), 1);
    /* Too late to cancel: every chunk is loaded. */
    loader_cancel(bench.loader, &bench.layers[0]);
    ck_assert_int_eq(await(&bench.layers[0]), 0);
    await_count(&hold.n_done);
    sem_destroy(&hold.entered);
    sem_destroy(&hold.proceed);
}
END_TEST

START_TEST(a_growth_that_fails_changes_nothing)
{
    begin(8 * MIB, COMMIT_LOAD, IO_AUTO, 1);
    struct arena *larger = NULL;
    ck_assert_int_eq(arena_new(16 * MIB, page, &larger), 0);
    arena_free(bench.arena);
    loader_free(bench.loader);
    bench.arena = larger;
    ck_assert_int_eq(loader_new(bench.workers, bench.backing, larger, IO_AUTO, &bench.loader), 0);
    reserve(layer_of(0, 9 * MIB));
    ck_assert_int_eq(loader_fill(bench.loader, &bench.layers[0], 0, FILL_ORDINARY, done, NULL),
                     -EINVAL);
    ck_assert_ptr_null(bench.layers[0].fill);
    ck_assert_uint_eq(backing_pending_bytes(bench.backing), 0);
    release(&bench.layers[0]);
    /* The arena's high-water mark is now beyond the file; the next layer is placed below it. */
    ck_assert_int_eq(fill(layer_of(1, MIB)), 0);
    ck_assert_uint_eq(file_bytes(), MIB);
    ck_assert_int_eq(fill(layer_of(2, 2 * MIB)), 0);
    ck_assert_uint_eq(file_bytes(), 3 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(bench.backing), 3 * MIB);
    ck_assert_uint_eq(bench.n_done[0], 0);
}
END_TEST

START_TEST(simulation_writes_nothing)
{
    begin(UINT64_C(1) << 44, -1, IO_AUTO, 1);
    ck_assert_int_eq(fill(layer_of(0, UINT64_C(1) << 43)), 0);
    hold_begin(1);
    start(layer_of(1, MIB));
    loader_cancel(bench.loader, &bench.layers[1]);
    hold_end();
    ck_assert_int_eq(await(&bench.layers[1]), -ECANCELED);
}
END_TEST

START_TEST(the_pools_end_reports_what_was_in_flight)
{
    begin(8 * MIB, COMMIT_LOAD, IO_AUTO, 1);
    hold_begin(1);
    start(layer_of(0, 4 * MIB));
    sem_post(&hold.proceed);
    workers_free(bench.workers);
    bench.workers = NULL;
    ck_assert_uint_eq(bench.n_done[0], 1);
    ck_assert(bench.result[0] == 0 || bench.result[0] == -ECANCELED);
    ck_assert_ptr_null(bench.layers[0].fill);
    sem_destroy(&hold.entered);
    sem_destroy(&hold.proceed);
}
END_TEST

/* Random loads, cancellations and evictions: the ledger and the file agree whenever no load is
 * running. */
START_TEST(ledger_and_file_agree)
{
    begin(16 * MIB, COMMIT_LOAD, IO_AUTO, 2);
    const char *given = getenv("SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    printf("seed %u\n", seed);
    fflush(stdout);
    uint64_t high = 0;
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < N_LAYERS; i++) {
            uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % (3 * MIB), n_pages;
            arena_footprint(bench.arena, bytes, 0, &n_pages);
            if (rand_r(&seed) % 2)
                release(&bench.layers[i]);
            if (arena_holds(bench.arena, &bench.layers[i].allocation) ||
                arena_free_pages(bench.arena) < n_pages) {
                bench.n_done[i] = 1;
                continue;
            }
            start(layer_of(i, bytes));
            if (rand_r(&seed) % 3 == 0)
                loader_cancel(bench.loader, &bench.layers[i]);
        }
        for (unsigned i = 0; i < N_LAYERS; i++) {
            await(&bench.layers[i]);
            if (bench.result[i] == -ECANCELED)
                release(&bench.layers[i]);
        }
        uint64_t mark = arena_high_water_pages(bench.arena) * page;
        ck_assert_uint_ge(mark, high);
        high = mark;
        ck_assert_uint_eq(backing_pending_bytes(bench.backing), 0);
        ck_assert_uint_eq(backing_committed_bytes(bench.backing), mark);
        ck_assert_uint_eq(file_bytes(), mark);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, zeroes_whole_pages_and_nothing_else);
    tcase_add_test(tcase, several_extents);
    tcase_add_test(tcase, load_commits_the_layers_pages);
    tcase_add_test(tcase, two_in_flight_account_for_their_own);
    tcase_add_test(tcase, cancelled_fill_commits_but_does_not_write);
    tcase_add_test(tcase, cancelled_in_the_middle);
    tcase_add_test(tcase, progress_counts_chunks_and_ends_at_the_layers_bytes);
    tcase_add_test(tcase, a_growth_that_fails_changes_nothing);
    tcase_add_test(tcase, simulation_writes_nothing);
    tcase_add_test(tcase, the_pools_end_reports_what_was_in_flight);
    tcase_add_test(tcase, ledger_and_file_agree);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
