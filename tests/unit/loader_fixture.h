/* A loader over a real arena and backing, with layers whose sizes or pieces a test sets. The
 * fixture frees it, with the weight files that a test has made. */
#pragma once

#include "daemon/weights/loader.h"

#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum { N_LAYERS = 12, N_FILES = 2 };

static const char directory_template[] = "/var/tmp/em-loader-files-XXXXXX"; /* on a disk */

static uint64_t page;
static char directory[sizeof directory_template];

static struct {
    struct arena *arena;
    struct backing *backing;
    struct workers *workers;
    struct loader *loader;
    struct layer_definition definitions[N_LAYERS];
    struct weight_file files[N_FILES];
    unsigned char *images[N_FILES]; /* what is in them */
    struct definition definition;
    struct model model;
    struct layer layers[N_LAYERS];
    unsigned n_done[N_LAYERS];
    int result[N_LAYERS];
} bench;

static inline void set_up(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    memcpy(directory, directory_template, sizeof directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static inline void end(void)
{
    workers_free(bench.workers);
    loader_free(bench.loader);
    for (unsigned i = 0; i < N_LAYERS; i++)
        if (bench.arena)
            arena_release(bench.arena, &bench.layers[i].allocation);
    for (unsigned i = 0; i < bench.definition.n_files; i++)
        weight_file_done(&bench.files[i]);
    for (unsigned i = 0; i < N_FILES; i++)
        free(bench.images[i]);
    arena_free(bench.arena);
    backing_free(bench.backing);
    memset(&bench, 0, sizeof bench);
}

static inline void tear_down(void)
{
    char path[128];

    end();
    for (unsigned i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof path, "%s/%u", directory, i);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

/* In the place of the one before. `commit` < 0: a simulation. */
static inline void begin(uint64_t capacity_bytes, int commit, enum io_mode io, unsigned n_threads)
{
    char why[BACKING_WHY_MAX];
    uint64_t page_bytes = arena_simulated_page_bytes(capacity_bytes, page);

    end();
    if (commit >= 0) {
        const struct backing_config config = {capacity_bytes, HUGE_PAGES_NEVER, (enum commit)commit,
                                              false};
        ck_assert_int_eq(backing_new(&config, &bench.backing, why), 0);
        page_bytes = backing_page_bytes(bench.backing);
    }
    ck_assert_int_eq(arena_new(capacity_bytes, page_bytes, &bench.arena), 0);
    ck_assert_int_eq(workers_new(n_threads, false, &bench.workers), 0);
    ck_assert_int_eq(loader_new(bench.workers, bench.backing, bench.arena, io, &bench.loader), 0);
    bench.definition.layers = bench.definitions;
    bench.definition.n_layers = N_LAYERS;
    bench.definition.files = bench.files;
    bench.model.definition = &bench.definition;
    for (unsigned i = 0; i < N_LAYERS; i++)
        bench.layers[i] = (struct layer){.model = &bench.model, .index = i};
}

static inline void reserve(struct layer *layer)
{
    const struct layer_definition *definition = layer_definition(layer);
    uint64_t n_pages;

    ck_assert_int_eq(
        arena_footprint(bench.arena, definition->bytes, definition->shift_bytes, &n_pages), 0);
    ck_assert_int_eq(arena_alloc(bench.arena, n_pages, &layer->allocation), 0);
}

static inline void release(struct layer *layer)
{
    arena_release(bench.arena, &layer->allocation);
}

static inline void done(struct layer *layer, int error, void *context)
{
    (void)context;
    ck_assert_ptr_null(layer->fill);
    bench.n_done[layer->index]++;
    bench.result[layer->index] = error;
}

static inline void start_as(struct layer *layer, enum fill_urgency urgency)
{
    reserve(layer);
    bench.n_done[layer->index] = 0;
    ck_assert_int_eq(loader_fill(bench.loader, layer, 0, urgency, done, NULL), 0);
    ck_assert_ptr_nonnull(layer->fill);
}

static inline void start(struct layer *layer)
{
    start_as(layer, FILL_ORDINARY);
}

static inline void await_count(const unsigned *n_done)
{
    struct pollfd ready = {.fd = workers_fd(bench.workers), .events = POLLIN};

    while (*n_done == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(bench.workers);
    }
}

/* The fill's result. */
static inline int await(const struct layer *layer)
{
    await_count(&bench.n_done[layer->index]);
    return bench.result[layer->index];
}

static inline int fill(struct layer *layer)
{
    start(layer);
    return await(layer);
}

static inline bool all(const unsigned char *bytes, unsigned char value, uint64_t n)
{
    return n == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, n - 1) == 0);
}

/* A job that holds a worker in each of its steps until the test lets it continue. */
static struct {
    struct job job;
    sem_t entered, proceed;
    unsigned n_done;
} hold;

static inline int hold_step(struct job *job, uint64_t index)
{
    (void)job;
    (void)index;
    sem_post(&hold.entered);
    sem_wait(&hold.proceed);
    return 0;
}

static inline void hold_done(struct job *job, int error)
{
    (void)job;
    ck_assert_int_eq(error, 0);
    hold.n_done++;
}

static inline void hold_begin(uint64_t n_steps)
{
    hold.job = (struct job){.n_steps = n_steps, .step = hold_step, .done = hold_done};
    hold.n_done = 0;
    sem_init(&hold.entered, 0, 0);
    sem_init(&hold.proceed, 0, 0);
    workers_submit(bench.workers, &hold.job);
    sem_wait(&hold.entered);
}

static inline void hold_next_step(void)
{
    sem_post(&hold.proceed);
    sem_wait(&hold.entered);
}

/* Its last step ends. */
static inline void hold_end(void)
{
    sem_post(&hold.proceed);
    await_count(&hold.n_done);
    sem_destroy(&hold.entered);
    sem_destroy(&hold.proceed);
}
