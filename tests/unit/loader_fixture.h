/* A loader over a real arena and backing, with layers and weight files. */
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

enum { N_LAYERS = 12, N_FILES = 2, GUARD = 0xab, CAPACITY_MIB = 4 };

static const char directory_template[] = "/var/tmp/em-loader-files-XXXXXX"; /* on a disk */
static const enum io_mode io_modes[] = {IO_AUTO, IO_DIRECT, IO_BUFFERED};
enum { N_IO_MODES = sizeof io_modes / sizeof io_modes[0] };

static uint64_t page;
static char directory[sizeof directory_template];

/* A fill's surroundings: layers without weights up to the last ones, to make holes with. */
struct bench {
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
};

static inline struct bench *bench_new(enum io_mode io, unsigned n_threads)
{
    struct bench *bench = calloc(1, sizeof *bench);
    char why[BACKING_WHY_MAX];
    ck_assert_int_eq(backing_new(&(struct backing_config){CAPACITY_MIB * MIB, HUGE_PAGES_NEVER,
                                                          COMMIT_BOOT, false},
                                 &bench->backing, why),
                     0);
    ck_assert_int_eq(
        arena_new(CAPACITY_MIB * MIB, backing_page_bytes(bench->backing), &bench->arena), 0);
    ck_assert_int_eq(workers_new(n_threads, &bench->workers), 0);
    ck_assert_int_eq(loader_new(bench->workers, bench->backing, bench->arena, io, &bench->loader),
                     0);
    bench->definition.layers = bench->definitions;
    bench->definition.n_layers = N_LAYERS;
    bench->definition.files = bench->files;
    bench->model.definition = &bench->definition;
    for (unsigned i = 0; i < N_LAYERS; i++)
        bench->layers[i] = (struct layer){.model = &bench->model, .index = i};
    memset(backing_base(bench->backing), GUARD, CAPACITY_MIB * MIB);
    return bench;
}

static inline void bench_free(struct bench *bench)
{
    workers_free(bench->workers);
    loader_free(bench->loader);
    for (unsigned i = 0; i < N_LAYERS; i++)
        arena_release(bench->arena, &bench->layers[i].allocation);
    for (unsigned i = 0; i < bench->definition.n_files; i++)
        weight_file_done(&bench->files[i]);
    for (unsigned i = 0; i < N_FILES; i++)
        free(bench->images[i]);
    arena_free(bench->arena);
    backing_free(bench->backing);
    free(bench);
}

/* Makes a file of that many bytes, on the disk and out of the page cache, and opens it. */
static inline void add_file(struct bench *bench, uint64_t n_bytes)
{
    char path[128];
    unsigned file = bench->definition.n_files;
    snprintf(path, sizeof path, "%s/%u", directory, file);
    unsigned char *bytes = malloc(n_bytes);
    ck_assert_ptr_nonnull(bytes);
    for (uint64_t i = 0; i < n_bytes; i++)
        bytes[i] = (unsigned char)((i * 0x9e3779b97f4a7c15 >> 32) ^ (i >> 12) ^ file);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "%s: %m", path);
    ck_assert_int_eq(write(fd, bytes, n_bytes), n_bytes);
    bench->images[file] = bytes;
    ck_assert_int_eq(fsync(fd), 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    ck_assert_int_eq(weight_file_init(&bench->files[file], open(path, O_RDONLY | O_CLOEXEC), path),
                     0);
    bench->definition.n_files++;
}

static inline int reopen_for_writing(const struct weight_file *file)
{
    int fd = open(file->path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* The bytes that the pieces say, placed as piece.h promises: congruent, in blocks of their own. */
static inline struct layer *define(struct bench *bench, unsigned i, struct piece *pieces,
                                   uint32_t n_pieces)
{
    struct layer_definition *layer = &bench->definitions[i];
    uint64_t end = 0;
    *layer = (struct layer_definition){
        .name = "l",
        .pieces = pieces,
        .n_pieces = n_pieces,
        .shift_bytes = (uint32_t)(pieces[0].file_offset_bytes % PIECE_ALIGN_BYTES),
    };
    for (uint32_t p = 0; p < n_pieces; p++) {
        if (p > 0) {
            uint64_t block = (end + layer->shift_bytes + PIECE_ALIGN_BYTES - 1) /
                             PIECE_ALIGN_BYTES * PIECE_ALIGN_BYTES;
            pieces[p].layer_offset_bytes =
                block + pieces[p].file_offset_bytes % PIECE_ALIGN_BYTES - layer->shift_bytes;
        }
        end = pieces[p].layer_offset_bytes + pieces[p].bytes;
    }
    layer->bytes = end;
    return &bench->layers[i];
}

static inline void done(struct layer *layer, int error, void *context)
{
    struct bench *bench = context;
    ck_assert_ptr_null(layer->fill);
    bench->n_done[layer->index]++;
    bench->result[layer->index] = error;
}

static inline void start(struct bench *bench, struct layer *layer)
{
    uint64_t n_pages;
    const struct layer_definition *definition = layer_definition(layer);
    ck_assert_int_eq(
        arena_footprint(bench->arena, definition->bytes, definition->shift_bytes, &n_pages), 0);
    ck_assert_int_eq(arena_alloc(bench->arena, n_pages, &layer->allocation), 0);
    bench->n_done[layer->index] = 0;
    ck_assert_int_eq(loader_fill(bench->loader, layer, false, done, bench), 0);
}

static inline int await(struct bench *bench, const struct layer *layer)
{
    struct pollfd ready = {.fd = workers_fd(bench->workers), .events = POLLIN};
    while (bench->n_done[layer->index] == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(bench->workers);
    }
    return bench->result[layer->index];
}

static inline int fill(struct bench *bench, struct layer *layer)
{
    start(bench, layer);
    return await(bench, layer);
}

static inline bool all(const unsigned char *bytes, unsigned char value, uint64_t n)
{
    return n == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static inline uint64_t block_floor(uint64_t offset_bytes)
{
    return offset_bytes - offset_bytes % PIECE_ALIGN_BYTES;
}

/* The layer's pages hold what they must, and all others what they held. The rest of a piece's
 * blocks holds whatever stands there in the file. */
static inline void check_bytes(const struct bench *bench, const struct layer *layer)
{
    const struct layer_definition *definition = layer_definition(layer);
    const unsigned char *base = backing_base(bench->backing);
    uint64_t n_bytes = layer->allocation.n_pages * page, n = 0;
    unsigned char *bytes = malloc(n_bytes);
    bool *owned = calloc(CAPACITY_MIB * MIB / page, sizeof *owned);

    ck_assert(bytes && owned);
    for (const struct extent *extent = layer->allocation.extents; extent; extent = extent->next) {
        memcpy(bytes + n, base + extent->first_page * page, extent->n_pages * page);
        n += extent->n_pages * page;
        memset(owned + extent->first_page, true, extent->n_pages);
    }
    ck_assert_uint_eq(n, n_bytes);
    n = 0;
    for (uint32_t p = 0; p < definition->n_pieces; p++) {
        const struct piece *piece = &definition->pieces[p];
        uint64_t begin = definition->shift_bytes + piece->layer_offset_bytes,
                 end = begin + piece->bytes;
        ck_assert_msg(all(bytes + n, 0, block_floor(begin) - n), "zeros before piece %u", p);
        ck_assert_msg(memcmp(bytes + begin, bench->images[piece->source] + piece->file_offset_bytes,
                             piece->bytes) == 0,
                      "piece %u", p);
        n = block_floor(end + PIECE_ALIGN_BYTES - 1);
    }
    ck_assert_msg(all(bytes + n, 0, n_bytes - n), "zeros behind the last piece");
    for (uint64_t i = 0; i < CAPACITY_MIB * MIB / page; i++)
        ck_assert_msg(owned[i] || all(base + i * page, GUARD, page),
                      "page %" PRIu64 " is nobody's, and was written", i);
    free(owned);
    free(bytes);
}

static inline void forget(struct bench *bench, struct layer *layer)
{
    arena_release(bench->arena, &layer->allocation);
    memset(backing_base(bench->backing), GUARD, CAPACITY_MIB * MIB);
}

static const uint64_t file_bytes = 3 * MIB + 12345;

static inline void set_up(void)
{
    memcpy(directory, directory_template, sizeof directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static inline void tear_down(void)
{
    char path[128];
    for (unsigned i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof path, "%s/%u", directory, i);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}
