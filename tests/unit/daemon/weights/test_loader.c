/* Fills over a real arena and backing: which bytes are written, what is committed and when, and
 * what a cancellation leaves. A single worker is held by a job of the test where order matters. */
#include "daemon/weights/loader.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)

enum { N_LAYERS = 8 };

static uint64_t page;

/* Everything that a fill needs, and layers whose sizes are set by reserve(). */
struct bench {
    struct arena *arena;
    struct backing *backing;
    struct workers *workers;
    struct loader *loader;
    struct layer_definition definitions[N_LAYERS];
    struct definition definition;
    struct model model;
    struct layer layers[N_LAYERS];
    unsigned n_done[N_LAYERS];
    int result[N_LAYERS];
};

/* `commit` < 0: a simulation. */
static struct bench *bench_new(uint64_t capacity_bytes, int commit, unsigned n_threads)
{
    struct bench *bench = calloc(1, sizeof *bench);
    char why[BACKING_WHY_MAX];
    if (commit >= 0)
        ck_assert_int_eq(backing_new(&(struct backing_config){capacity_bytes, HUGE_PAGES_NEVER,
                                                              (enum commit)commit, false},
                                     &bench->backing, why),
                         0);
    uint64_t page_bytes = bench->backing ? backing_page_bytes(bench->backing) : page;
    ck_assert_int_eq(arena_new(capacity_bytes, page_bytes, &bench->arena), 0);
    ck_assert_int_eq(workers_new(n_threads, &bench->workers), 0);
    ck_assert_int_eq(
        loader_new(bench->workers, bench->backing, bench->arena, IO_AUTO, &bench->loader), 0);
    bench->definition.layers = bench->definitions;
    bench->definition.n_layers = N_LAYERS;
    bench->model.definition = &bench->definition;
    for (unsigned i = 0; i < N_LAYERS; i++)
        bench->layers[i] = (struct layer){.model = &bench->model, .index = i};
    return bench;
}

static void bench_free(struct bench *bench)
{
    workers_free(bench->workers);
    loader_free(bench->loader);
    for (unsigned i = 0; i < N_LAYERS; i++)
        arena_release(bench->arena, &bench->layers[i].allocation);
    arena_free(bench->arena);
    backing_free(bench->backing);
    free(bench);
}

static void done(struct layer *layer, int error, void *context)
{
    struct bench *bench = context;
    ck_assert_ptr_null(layer->fill);
    bench->n_done[layer->index]++;
    bench->result[layer->index] = error;
}

static void reserve(struct bench *bench, unsigned i, uint64_t bytes)
{
    uint64_t n_pages;
    bench->definitions[i].bytes = bytes;
    ck_assert_int_eq(arena_footprint(bench->arena, bytes, 0, &n_pages), 0);
    ck_assert_int_eq(arena_alloc(bench->arena, n_pages, &bench->layers[i].allocation), 0);
}

static void release(struct bench *bench, unsigned i)
{
    arena_release(bench->arena, &bench->layers[i].allocation);
}

static void start(struct bench *bench, unsigned i, uint64_t bytes)
{
    reserve(bench, i, bytes);
    ck_assert_int_eq(loader_fill(bench->loader, &bench->layers[i], false, done, bench), 0);
    ck_assert_ptr_nonnull(bench->layers[i].fill);
    bench->n_done[i] = 0;
}

static void await(struct bench *bench, const unsigned *n_done)
{
    struct pollfd ready = {.fd = workers_fd(bench->workers), .events = POLLIN};
    while (*n_done == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(bench->workers);
    }
}

static void fill(struct bench *bench, unsigned i, uint64_t bytes)
{
    start(bench, i, bytes);
    await(bench, &bench->n_done[i]);
    ck_assert_int_eq(bench->result[i], 0);
}

static uint64_t file_bytes(const struct bench *bench)
{
    struct stat status;
    ck_assert_int_eq(fstat(backing_fd(bench->backing), &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static bool all(const unsigned char *bytes, unsigned char value, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

/* Holds one worker from its first step on, until told to go on. */
struct hold {
    struct job job;
    sem_t entered, proceed;
    unsigned n_done;
};

static int hold_step(struct job *job, uint64_t index)
{
    struct hold *hold = (struct hold *)job;
    (void)index;
    sem_post(&hold->entered);
    sem_wait(&hold->proceed);
    return 0;
}

static void hold_done(struct job *job, int error)
{
    struct hold *hold = (struct hold *)job;
    ck_assert_int_eq(error, 0);
    hold->n_done++;
}

static void hold_begin(struct hold *hold, struct workers *workers, uint64_t n_steps)
{
    *hold = (struct hold){.job = {.n_steps = n_steps, .step = hold_step, .done = hold_done}};
    sem_init(&hold->entered, 0, 0);
    sem_init(&hold->proceed, 0, 0);
    workers_submit(workers, &hold->job);
    sem_wait(&hold->entered);
}

static void hold_end(struct hold *hold, struct bench *bench)
{
    sem_post(&hold->proceed);
    await(bench, &hold->n_done);
    sem_destroy(&hold->entered);
    sem_destroy(&hold->proceed);
}

START_TEST(zeroes_whole_pages_and_nothing_else)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_BOOT, 2);
    unsigned char *base = backing_base(bench->backing);
    memset(base, 0xab, 8 * MIB);
    fill(bench, 0, 3 * MIB + 5);
    ck_assert(all(base, 0, 3 * MIB + page));
    ck_assert(all(base + 3 * MIB + page, 0xab, 5 * MIB - page));
    ck_assert_uint_eq(bench->n_done[0], 1);
    ck_assert_uint_eq(loader_progress_bytes(&bench->layers[0]), 0);
    bench_free(bench);
}
END_TEST

START_TEST(several_extents)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_BOOT, 2);
    unsigned char *base = backing_base(bench->backing);
    for (unsigned i = 0; i < 7; i++)
        reserve(bench, i, MIB + page);
    release(bench, 1);
    release(bench, 3);
    release(bench, 5);
    memset(base, 0xcd, 8 * MIB);
    fill(bench, 7, 3 * MIB + 2 * page + 1);
    ck_assert_ptr_nonnull(bench->layers[7].allocation.extents->next);
    for (unsigned i = 0; i < 7; i++)
        ck_assert(all(base + i * (MIB + page), i % 2 ? 0 : 0xcd, MIB + page));
    ck_assert(all(base + 7 * (MIB + page), 0xcd, MIB - 7 * page));
    bench_free(bench);
}
END_TEST

START_TEST(load_commits_the_layers_pages)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_LOAD, 2);
    start(bench, 0, 2 * MIB + 1);
    ck_assert_uint_eq(backing_pending_bytes(bench->backing), 2 * MIB + page);
    await(bench, &bench->n_done[0]);
    ck_assert_uint_eq(backing_committed_bytes(bench->backing), 2 * MIB + page);
    ck_assert_uint_eq(backing_pending_bytes(bench->backing), 0);
    ck_assert_uint_eq(file_bytes(bench), 2 * MIB + page);

    /* Old pages that are dirty, and new ones, in one layer. */
    memset(backing_base(bench->backing), 0xee, 2 * MIB);
    release(bench, 0);
    fill(bench, 1, 5 * MIB);
    ck_assert(all(backing_base(bench->backing), 0, 5 * MIB));
    ck_assert_uint_eq(backing_committed_bytes(bench->backing), 5 * MIB);
    ck_assert_uint_eq(file_bytes(bench), 5 * MIB);
    ck_assert_uint_eq(arena_high_water_pages(bench->arena) * page, 5 * MIB);
    bench_free(bench);
}
END_TEST

START_TEST(two_in_flight_account_for_their_own)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_LOAD, 1);
    struct hold hold;
    hold_begin(&hold, bench->workers, 1);
    start(bench, 0, 2 * MIB);
    start(bench, 1, 3 * MIB);
    ck_assert_uint_eq(backing_pending_bytes(bench->backing), 5 * MIB);
    loader_cancel(bench->loader, &bench->layers[0]);
    hold_end(&hold, bench);
    await(bench, &bench->n_done[0]);
    await(bench, &bench->n_done[1]);
    ck_assert_int_eq(bench->result[0], -ECANCELED);
    ck_assert_int_eq(bench->result[1], 0);
    ck_assert_uint_eq(backing_committed_bytes(bench->backing), 5 * MIB);
    ck_assert_uint_eq(file_bytes(bench), 5 * MIB);
    bench_free(bench);
}
END_TEST

START_TEST(cancelled_fill_commits_but_does_not_write)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_LOAD, 1);
    fill(bench, 0, 2 * MIB);
    unsigned char *base = backing_base(bench->backing);
    memset(base, 0xab, 2 * MIB);
    release(bench, 0);

    struct hold hold;
    hold_begin(&hold, bench->workers, 1);
    start(bench, 1, 4 * MIB);
    loader_cancel(bench->loader, &bench->layers[1]);
    ck_assert_uint_eq(bench->n_done[1], 0); /* its pages are still its own */
    hold_end(&hold, bench);
    await(bench, &bench->n_done[1]);
    ck_assert_int_eq(bench->result[1], -ECANCELED);
    ck_assert(all(base, 0xab, 2 * MIB));
    ck_assert_uint_eq(file_bytes(bench), 4 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(bench->backing), 4 * MIB);
    ck_assert_uint_eq(backing_pending_bytes(bench->backing), 0);
    loader_cancel(bench->loader, &bench->layers[1]); /* of no fill: nothing */
    bench_free(bench);
}
END_TEST

START_TEST(cancelled_in_the_middle)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_BOOT, 1);
    unsigned char *base = backing_base(bench->backing);
    memset(base, 0xab, 8 * MIB);
    /* One thread takes turns: the hold's second step was queued before the fill, its third comes
     * after the fill's first. */
    struct hold hold;
    hold_begin(&hold, bench->workers, 3);
    start(bench, 0, 4 * MIB);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(loader_progress_bytes(&bench->layers[0]), 0);
        sem_post(&hold.proceed);
        sem_wait(&hold.entered);
    }
    ck_assert_uint_eq(loader_progress_bytes(&bench->layers[0]), MIB);
    loader_cancel(bench->loader, &bench->layers[0]);
    hold_end(&hold, bench);
    await(bench, &bench->n_done[0]);
    ck_assert_int_eq(bench->result[0], -ECANCELED);
    ck_assert(all(base, 0, MIB));
    ck_assert(all(base + MIB, 0xab, 7 * MIB));
    bench_free(bench);
}
END_TEST

START_TEST(progress_counts_chunks_and_ends_at_the_layers_bytes)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_BOOT, 1);
    uint64_t bytes = 2 * MIB + 100;
    struct hold hold;
    hold_begin(&hold, bench->workers, 1);
    start(bench, 0, bytes);
    ck_assert_uint_eq(loader_progress_bytes(&bench->layers[0]), 0);
    sem_post(&hold.proceed);
    struct pollfd ready = {.fd = workers_fd(bench->workers), .events = POLLIN};
    uint64_t last = 0, progress;
    do {
        progress = loader_progress_bytes(&bench->layers[0]);
        ck_assert_uint_ge(progress, last);
        ck_assert(progress % MIB == 0 || progress == bytes);
        last = progress;
    } while (progress < bytes);
    ck_assert_int_eq(poll(&ready, 1, -1), 1);
    /* Too late to cancel: every chunk is in place. */
    loader_cancel(bench->loader, &bench->layers[0]);
    await(bench, &bench->n_done[0]);
    ck_assert_int_eq(bench->result[0], 0);
    await(bench, &hold.n_done);
    sem_destroy(&hold.entered);
    sem_destroy(&hold.proceed);
    bench_free(bench);
}
END_TEST

START_TEST(a_growth_that_fails_changes_nothing)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_LOAD, 1);
    struct arena *larger = NULL;
    ck_assert_int_eq(arena_new(16 * MIB, page, &larger), 0);
    arena_free(bench->arena);
    loader_free(bench->loader);
    bench->arena = larger;
    ck_assert_int_eq(loader_new(bench->workers, bench->backing, larger, IO_AUTO, &bench->loader),
                     0);
    reserve(bench, 0, 9 * MIB);
    ck_assert_int_eq(loader_fill(bench->loader, &bench->layers[0], false, done, bench), -EINVAL);
    ck_assert_ptr_null(bench->layers[0].fill);
    ck_assert_uint_eq(backing_pending_bytes(bench->backing), 0);
    release(bench, 0);
    /* The arena's high-water mark is now beyond the file; the next layer is placed below it. */
    fill(bench, 1, MIB);
    ck_assert_uint_eq(file_bytes(bench), MIB);
    fill(bench, 2, 2 * MIB);
    ck_assert_uint_eq(file_bytes(bench), 3 * MIB);
    ck_assert_uint_eq(backing_committed_bytes(bench->backing), 3 * MIB);
    ck_assert_uint_eq(bench->n_done[0], 0);
    bench_free(bench);
}
END_TEST

START_TEST(simulation_writes_nothing)
{
    struct bench *bench = bench_new(UINT64_C(1) << 50, -1, 1);
    fill(bench, 0, UINT64_C(1) << 49);
    struct hold hold;
    hold_begin(&hold, bench->workers, 1);
    start(bench, 1, MIB);
    loader_cancel(bench->loader, &bench->layers[1]);
    hold_end(&hold, bench);
    await(bench, &bench->n_done[1]);
    ck_assert_int_eq(bench->result[1], -ECANCELED);
    bench_free(bench);
}
END_TEST

START_TEST(the_pools_end_reports_what_was_in_flight)
{
    struct bench *bench = bench_new(8 * MIB, COMMIT_LOAD, 1);
    struct hold hold;
    hold_begin(&hold, bench->workers, 1);
    start(bench, 0, 4 * MIB);
    sem_post(&hold.proceed);
    workers_free(bench->workers);
    bench->workers = NULL;
    ck_assert_uint_eq(bench->n_done[0], 1);
    ck_assert(bench->result[0] == 0 || bench->result[0] == -ECANCELED);
    ck_assert_ptr_null(bench->layers[0].fill);
    sem_destroy(&hold.entered);
    sem_destroy(&hold.proceed);
    bench_free(bench);
}
END_TEST

/* Random loads, cancellations and evictions: the ledger and the file agree whenever nothing is in
 * flight. */
START_TEST(ledger_and_file_agree)
{
    struct bench *bench = bench_new(16 * MIB, COMMIT_LOAD, 2);
    const char *given = getenv("SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    printf("seed %u\n", seed);
    fflush(stdout);
    uint64_t high = 0;
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < N_LAYERS; i++) {
            uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % (3 * MIB), n_pages;
            arena_footprint(bench->arena, bytes, 0, &n_pages);
            if (rand_r(&seed) % 2)
                release(bench, i);
            if (arena_holds(bench->arena, &bench->layers[i].allocation) ||
                arena_free_pages(bench->arena) < n_pages) {
                bench->n_done[i] = 1;
                continue;
            }
            start(bench, i, bytes);
            if (rand_r(&seed) % 3 == 0)
                loader_cancel(bench->loader, &bench->layers[i]);
        }
        for (unsigned i = 0; i < N_LAYERS; i++) {
            await(bench, &bench->n_done[i]);
            if (bench->result[i] == -ECANCELED)
                release(bench, i);
        }
        uint64_t mark = arena_high_water_pages(bench->arena) * page;
        ck_assert_uint_ge(mark, high);
        high = mark;
        ck_assert_uint_eq(backing_pending_bytes(bench->backing), 0);
        ck_assert_uint_eq(backing_committed_bytes(bench->backing), mark);
        ck_assert_uint_eq(file_bytes(bench), mark);
    }
    bench_free(bench);
}
END_TEST

int main(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");
    tcase_set_timeout(tcase, 120);
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
