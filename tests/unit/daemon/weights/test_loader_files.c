/* Fills from weight files: that every byte of a layer comes from its place in its file, whatever
 * offsets, extents and ways of reading there are, that no other byte of the arena is touched, and
 * what a file that changes or cannot be read does to the load. */
#include "daemon/weights/loader.h"

#include "common/clock.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

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

static struct bench *bench_new(enum io_mode io, unsigned n_threads)
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

static void bench_free(struct bench *bench)
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
static void add_file(struct bench *bench, uint64_t n_bytes)
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

static int reopen_for_writing(const struct weight_file *file)
{
    int fd = open(file->path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* Leaves holes of less than a MiB and nothing else. */
static void fragment(struct bench *bench)
{
    static const uint64_t sizes[] = {1, 1, 200, 1, 250, 1, 250, 1, 250};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (unsigned i = 0; i < N; i++)
        ck_assert_int_eq(
            arena_alloc(bench->arena, sizes[i] * 4096 / page + 1, &bench->layers[i].allocation), 0);
    ck_assert_int_eq(
        arena_alloc(bench->arena, arena_free_pages(bench->arena), &bench->layers[N].allocation), 0);
    for (unsigned i = 0; i < N; i += 2)
        arena_release(bench->arena, &bench->layers[i].allocation);
}

/* The bytes that the pieces say, placed as piece.h promises: congruent, in blocks of their own. */
static struct layer *define(struct bench *bench, unsigned i, struct piece *pieces,
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

static void done(struct layer *layer, int error, void *context)
{
    struct bench *bench = context;
    ck_assert_ptr_null(layer->fill);
    bench->n_done[layer->index]++;
    bench->result[layer->index] = error;
}

static void start(struct bench *bench, struct layer *layer)
{
    uint64_t n_pages;
    const struct layer_definition *definition = layer_definition(layer);
    ck_assert_int_eq(
        arena_footprint(bench->arena, definition->bytes, definition->shift_bytes, &n_pages), 0);
    ck_assert_int_eq(arena_alloc(bench->arena, n_pages, &layer->allocation), 0);
    bench->n_done[layer->index] = 0;
    ck_assert_int_eq(loader_fill(bench->loader, layer, false, done, bench), 0);
}

static int await(struct bench *bench, const struct layer *layer)
{
    struct pollfd ready = {.fd = workers_fd(bench->workers), .events = POLLIN};
    while (bench->n_done[layer->index] == 0) {
        ck_assert_int_ge(poll(&ready, 1, -1), 1);
        workers_dispatch(bench->workers);
    }
    return bench->result[layer->index];
}

static int fill(struct bench *bench, struct layer *layer)
{
    start(bench, layer);
    return await(bench, layer);
}

static bool all(const unsigned char *bytes, unsigned char value, uint64_t n)
{
    return n == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static uint64_t block_floor(uint64_t offset_bytes)
{
    return offset_bytes - offset_bytes % PIECE_ALIGN_BYTES;
}

/* The layer's pages hold what they must, and all others what they held. The rest of a piece's
 * blocks holds whatever stands there in the file. */
static void check_bytes(const struct bench *bench, const struct layer *layer)
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

static void forget(struct bench *bench, struct layer *layer)
{
    arena_release(bench->arena, &layer->allocation);
    memset(backing_base(bench->backing), GUARD, CAPACITY_MIB * MIB);
}

static const uint64_t file_bytes = 3 * MIB + 12345;

/* One of each kind: aligned, just beside, a sector, odd; a byte, a block, many chunks; and all of
 * those that end with the file. */
START_TEST(every_place)
{
    static const uint64_t offsets[] = {0, 1, 512, 4095, 4097, 1234567};
    static const uint64_t sizes[] = {1, 4096, 4097, 1048576 + 7};
    enum {
        N_OFFSETS = sizeof offsets / sizeof offsets[0],
        N_SIZES = sizeof sizes / sizeof sizes[0]
    };
    struct bench *bench = bench_new(io_modes[_i], 2);

    add_file(bench, file_bytes);
    for (unsigned fragmented = 0; fragmented < 2; fragmented++) {
        if (fragmented)
            fragment(bench);
        for (unsigned i = fragmented ? N_SIZES - 1 : 0; i < N_SIZES; i++)
            for (unsigned j = 0; j <= N_OFFSETS; j++) {
                bool is_last = j == N_OFFSETS;
                struct piece piece = {is_last ? file_bytes - sizes[i] : offsets[j], 0, sizes[i], 0};
                struct layer *layer = define(bench, 11, &piece, 1);
                ck_assert_int_eq(fill(bench, layer), 0);
                if (fragmented)
                    ck_assert_ptr_nonnull(layer->allocation.extents->next);
                check_bytes(bench, layer);
                forget(bench, layer);
            }
    }
    bench_free(bench);
}
END_TEST

START_TEST(many_pieces_of_two_files)
{
    struct bench *bench = bench_new(io_modes[_i], 2);
    struct piece pieces[] = {
        {file_bytes - 100, 0, 100, 1}, /* begins late in its page */
        {4095, 0, 2, 0},
        {2 * MIB, 0, MIB + 1, 0},
        {9000, 0, 1, 1},
        {5, 0, 2 * MIB, 1},
        {file_bytes - 1, 0, 1, 0},
        {0, 0, 4096, 0},
    };

    add_file(bench, file_bytes);
    add_file(bench, file_bytes);
    struct layer *layer = define(bench, 11, pieces, sizeof pieces / sizeof pieces[0]);
    ck_assert_int_eq(fill(bench, layer), 0);
    check_bytes(bench, layer);
    forget(bench, layer);
    fragment(bench);
    ck_assert_int_eq(fill(bench, layer), 0);
    check_bytes(bench, layer);
    bench_free(bench);
}
END_TEST

/* A file whose size is a whole number of blocks, and one of less than a block. */
START_TEST(ends_of_files)
{
    static const uint64_t sizes[] = {1, 4095, 4096, 2 * 1048576, 2 * 1048576 + 1};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct bench *bench = bench_new(io_modes[_i], 2);
        struct piece piece = {0, 0, sizes[i], 0};
        add_file(bench, sizes[i]);
        struct layer *layer = define(bench, 11, &piece, 1);
        ck_assert_int_eq(fill(bench, layer), 0);
        check_bytes(bench, layer);
        /* What a direct read leaves behind the file's end is not shown. */
        const unsigned char *base = backing_base(bench->backing);
        for (uint64_t at = sizes[i]; at < layer->allocation.n_pages * page; at++)
            ck_assert_uint_eq(base[at], 0);
        bench_free(bench);
    }
}
END_TEST

static uint64_t resident_pages(const struct weight_file *file)
{
    size_t n_pages = (file->bytes + page - 1) / page, n = 0;
    unsigned char *state = malloc(n_pages);
    void *mapping = mmap(NULL, file->bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    ck_assert_ptr_nonnull(state);
    ck_assert_ptr_ne(mapping, MAP_FAILED);
    ck_assert_int_eq(mincore(mapping, file->bytes, state), 0);
    for (size_t i = 0; i < n_pages; i++)
        n += state[i] & 1;
    munmap(mapping, file->bytes);
    free(state);
    return n;
}

static bool is_direct(const struct weight_file *file)
{
    return fcntl(file->fd, F_GETFL) & O_DIRECT;
}

/* False, saying so, where the file system has no O_DIRECT. */
static bool takes_direct(const struct weight_file *file)
{
    int flags = fcntl(file->fd, F_GETFL);
    bool takes = fcntl(file->fd, F_SETFL, flags | O_DIRECT) == 0;
    fcntl(file->fd, F_SETFL, flags);
    if (!takes)
        puts("SKIP: direct reads: not on this file system");
    return takes;
}

START_TEST(the_mode_that_was_asked_for)
{
    for (unsigned i = 1; i < N_IO_MODES; i++) {
        struct bench *bench = bench_new(io_modes[i], 2);
        struct piece piece = {0, 0, file_bytes, 0};
        add_file(bench, file_bytes);
        if (takes_direct(&bench->files[0])) {
            ck_assert_int_eq(fill(bench, define(bench, 11, &piece, 1)), 0);
            ck_assert_int_eq(is_direct(&bench->files[0]), io_modes[i] == IO_DIRECT);
        }
        bench_free(bench);
    }
}
END_TEST

static void drop_from_cache(int fd)
{
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

/* Whether so many loads of a cold file all read past the page cache. Tries more than once: on a
 * busy machine a look that is held up sees what it has itself brought in. */
static bool stays_cold(struct bench *bench, struct layer *layer, int fd, unsigned n_loads)
{
    const struct weight_file *file = &bench->files[0];
    enum { TRIES = 100 };
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned n_direct = 0;
        drop_from_cache(fd);
        while (n_direct < n_loads) {
            ck_assert_int_eq(fill(bench, layer), 0);
            check_bytes(bench, layer);
            forget(bench, layer);
            if (!is_direct(file))
                break;
            n_direct++;
        }
        if (n_direct == n_loads)
            return resident_pages(file) < file_bytes / page / 2;
    }
    return false;
}

START_TEST(auto_follows_the_page_cache)
{
    struct bench *bench = bench_new(IO_AUTO, 2);
    struct weight_file *file = &bench->files[0];
    struct piece piece = {0, 0, file_bytes, 0};

    add_file(bench, file_bytes);
    if (takes_direct(file) && resident_pages(file) == 0) {
        struct layer *layer = define(bench, 11, &piece, 1);
        int reader = reopen_for_writing(file);
        /* Cold, again and again: looking must not make it warm. */
        ck_assert(stays_cold(bench, layer, reader, 3));

        /* Somebody reads it: warm. */
        char *bytes = malloc(file_bytes);
        ck_assert_int_eq(pread(reader, bytes, file_bytes, 0), file_bytes);
        free(bytes);
        ck_assert_int_eq(fill(bench, layer), 0);
        ck_assert(!is_direct(file));
        check_bytes(bench, layer);
        forget(bench, layer);

        /* Not looked at again: a run has just read from it. */
        file->probed_usec = clock_monotonic_usec() + 3600 * UINT64_C(1000000);
        layer->ahead = 1;
        drop_from_cache(reader);
        ck_assert_int_eq(fill(bench, layer), 0);
        ck_assert(!is_direct(file));
        check_bytes(bench, layer);
        forget(bench, layer);
        file->probed_usec = 0;

        /* And cold again. */
        drop_from_cache(reader);
        if (resident_pages(file) == 0)
            ck_assert(stays_cold(bench, layer, reader, 1));
        close(reader);
    }
    bench_free(bench);
}
END_TEST

/* A file of a file system without direct reads, large enough for many chunks. */
START_TEST(falls_back_where_direct_is_refused)
{
    static const char path[] = "/sys/kernel/btf/vmlinux";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0 || status.st_size < 100000 ||
        fcntl(fd, F_SETFL, O_DIRECT) == 0) {
        puts("SKIP: a file without direct reads: none known here");
        if (fd >= 0)
            close(fd);
        return;
    }
    size_t n_bytes = (size_t)status.st_size - 77;
    if (n_bytes > 3 * MIB)
        n_bytes = 3 * MIB;
    for (unsigned i = 0; i < N_IO_MODES; i++) {
        struct bench *bench = bench_new(io_modes[i], 2);
        struct piece piece = {77, 0, n_bytes, 0};
        ck_assert_int_eq(weight_file_init(&bench->files[0], dup(fd), path), 0);
        bench->definition.n_files = 1;
        ck_assert_int_eq(fill(bench, define(bench, 11, &piece, 1)), 0);
        unsigned char *bytes = bench->images[0] = malloc(n_bytes);
        for (size_t n = 0; n < n_bytes;) {
            ssize_t n_read = pread(fd, bytes + n, n_bytes - n, (off_t)(77 + n));
            ck_assert_int_gt(n_read, 0);
            n += (size_t)n_read;
        }
        ck_assert_int_eq(memcmp(bytes, backing_base(bench->backing) + 77, n_bytes), 0);
        bench_free(bench);
    }
    close(fd);
}
END_TEST

static void expect_stale(struct bench *bench, struct layer *layer)
{
    ck_assert_int_eq(fill(bench, layer), -ESTALE);
    arena_release(bench->arena, &layer->allocation);
}

START_TEST(a_file_that_changed)
{
    struct bench *bench = bench_new(io_modes[_i], 2);
    struct weight_file *file = &bench->files[0];
    struct piece piece = {100, 0, 3 * MIB, 0};

    add_file(bench, file_bytes);
    struct layer *layer = define(bench, 11, &piece, 1);
    ck_assert_int_eq(fill(bench, layer), 0);
    arena_release(bench->arena, &layer->allocation);

    int writer = reopen_for_writing(file);
    struct timespec times[] = {file->modified, file->modified};
    times[1].tv_nsec ^= 1;
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(bench, layer);
    times[1] = file->modified;
    /* Written to, with its time put back. */
    ck_assert_int_eq(pwrite(writer, "other", 5, 200), 5);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(bench, layer);
    ck_assert_int_eq(ftruncate(writer, (off_t)file_bytes + 1), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(bench, layer);
    /* Even where the layer itself lies before the new end. */
    ck_assert_int_eq(ftruncate(writer, (off_t)file_bytes - 1), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(bench, layer);
    ck_assert_int_eq(ftruncate(writer, 0), 0);
    ck_assert_int_eq(futimens(writer, times), 0);
    expect_stale(bench, layer);
    close(writer);
    bench_free(bench);
}
END_TEST

/* Holds the only worker, step by step. */
struct hold {
    struct job job;
    sem_t entered, proceed;
    bool is_done;
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
    ck_assert_int_eq(error, 0);
    ((struct hold *)job)->is_done = true;
}

/* One thread takes turns: the fill's first chunk lies between the hold's second step and its third,
 * and what `change` does to the file falls there, in the middle of the layer. */
static int change_in_the_middle(struct bench *bench, struct layer *layer,
                                void (*change)(const struct weight_file *file))
{
    struct hold hold = {.job = {.n_steps = 3, .step = hold_step, .done = hold_done}};
    sem_init(&hold.entered, 0, 0);
    sem_init(&hold.proceed, 0, 0);
    workers_submit(bench->workers, &hold.job);
    sem_wait(&hold.entered);
    start(bench, layer);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(loader_progress_bytes(layer), 0);
        sem_post(&hold.proceed);
        sem_wait(&hold.entered);
    }
    ck_assert_uint_eq(loader_progress_bytes(layer), MIB);
    change(&bench->files[0]);
    sem_post(&hold.proceed);
    int r = await(bench, layer);
    while (!hold.is_done)
        workers_dispatch(bench->workers);
    sem_destroy(&hold.entered);
    sem_destroy(&hold.proceed);
    arena_release(bench->arena, &layer->allocation);
    return r;
}

static void truncate_it(const struct weight_file *file)
{
    int writer = reopen_for_writing(file);
    ck_assert_int_eq(ftruncate(writer, (off_t)MIB), 0);
    close(writer);
}

static void write_into_it(const struct weight_file *file)
{
    int writer = reopen_for_writing(file);
    ck_assert_int_eq(pwrite(writer, "changed", 7, (off_t)(2 * MIB)), 7);
    close(writer);
}

static void replace_it(const struct weight_file *file)
{
    ck_assert_int_eq(unlink(file->path), 0);
    int other = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(other, 0);
    close(other);
}

START_TEST(a_file_that_changes_meanwhile)
{
    static const struct {
        void (*change)(const struct weight_file *file);
        int result;
    } changes[] = {
        {truncate_it, -ESTALE},
        {write_into_it, -ESTALE},
        {replace_it, 0}, /* the open file is still what it was */
    };
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct bench *bench = bench_new(io_modes[_i], 1);
        struct piece piece = {0, 0, 3 * MIB, 0};
        add_file(bench, file_bytes);
        struct layer *layer = define(bench, 11, &piece, 1);
        ck_assert_int_eq(change_in_the_middle(bench, layer, changes[i].change), changes[i].result);
        bench_free(bench);
    }
}
END_TEST

/* A read that fails ends the load with its errno, and the layer's other chunks are not read. */
START_TEST(a_read_that_fails)
{
    struct bench *bench = bench_new(IO_BUFFERED, 1);
    struct piece pieces[] = {{0, 0, 2 * MIB, 0}, {0, 0, 2 * MIB, 1}};

    add_file(bench, file_bytes);
    add_file(bench, file_bytes);
    struct layer *layer = define(bench, 11, pieces, 2);
    int readable = bench->files[0].fd;
    bench->files[0].fd = open(bench->files[0].path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(fill(bench, layer), -EBADF);
    ck_assert_uint_eq(backing_base(bench->backing)[2 * MIB], GUARD);
    forget(bench, layer);
    /* Once it can be read, so can the layer. */
    close(bench->files[0].fd);
    bench->files[0].fd = readable;
    ck_assert_int_eq(fill(bench, layer), 0);
    check_bytes(bench, layer);
    bench_free(bench);
}
END_TEST

/* Two layers of one file at once, by two threads: both choose how the file is read. */
START_TEST(two_at_once)
{
    struct bench *bench = bench_new(io_modes[_i], 2);
    const uint64_t bytes = MIB + MIB / 2;
    struct piece pieces[] = {{1, 0, bytes, 0}, {MIB + 1, 0, bytes, 0}};

    add_file(bench, file_bytes);
    for (unsigned round = 0; round < 4; round++) {
        struct layer *one = define(bench, 10, &pieces[0], 1),
                     *other = define(bench, 11, &pieces[1], 1);
        start(bench, one);
        start(bench, other);
        ck_assert_int_eq(await(bench, one), 0);
        ck_assert_int_eq(await(bench, other), 0);
        const unsigned char *base = backing_base(bench->backing);
        uint64_t at = other->allocation.extents->first_page * page + 1;
        ck_assert_int_eq(memcmp(base + 1, bench->images[0] + 1, bytes), 0);
        ck_assert_int_eq(memcmp(base + at, bench->images[0] + MIB + 1, bytes), 0);
        forget(bench, one);
        forget(bench, other);
    }
    bench_free(bench);
}
END_TEST

/* A layer with weights and one without: nothing of what lay there shows through either. */
START_TEST(zeros_between_and_behind)
{
    struct bench *bench = bench_new(IO_BUFFERED, 2);
    struct piece pieces[] = {{4000, 0, 10, 0}, {3 * MIB + 10, 0, 5, 0}};

    add_file(bench, file_bytes);
    struct layer *layer = define(bench, 11, pieces, 2);
    ck_assert_int_eq(fill(bench, layer), 0);
    check_bytes(bench, layer);
    bench_free(bench);
}
END_TEST

START_TEST(cancelled_while_it_reads)
{
    struct bench *bench = bench_new(io_modes[_i], 2);
    struct piece piece = {3, 0, 3 * MIB, 0};

    add_file(bench, file_bytes);
    struct layer *layer = define(bench, 11, &piece, 1);
    for (unsigned round = 0; round < 8; round++) {
        start(bench, layer);
        while (round % 2 && loader_progress_bytes(layer) == 0)
            continue;
        loader_cancel(bench->loader, layer);
        int r = await(bench, layer);
        ck_assert_msg(r == -ECANCELED || r == 0, "%d", r);
        if (r == 0)
            check_bytes(bench, layer);
        forget(bench, layer);
    }
    ck_assert_int_eq(fill(bench, layer), 0);
    check_bytes(bench, layer);
    bench_free(bench);
}
END_TEST

static void set_up(void)
{
    memcpy(directory, directory_template, sizeof directory);
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void tear_down(void)
{
    char path[128];
    for (unsigned i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof path, "%s/%u", directory, i);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

int main(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    Suite *suite = suite_create("loader_files");
    TCase *tcase = tcase_create("loader_files");
    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, every_place, 0, N_IO_MODES);
    tcase_add_loop_test(tcase, many_pieces_of_two_files, 0, N_IO_MODES);
    tcase_add_loop_test(tcase, ends_of_files, 0, N_IO_MODES);
    tcase_add_test(tcase, the_mode_that_was_asked_for);
    tcase_add_test(tcase, auto_follows_the_page_cache);
    tcase_add_test(tcase, falls_back_where_direct_is_refused);
    tcase_add_loop_test(tcase, a_file_that_changed, 0, N_IO_MODES);
    tcase_add_loop_test(tcase, a_file_that_changes_meanwhile, 0, N_IO_MODES);
    tcase_add_test(tcase, a_read_that_fails);
    tcase_add_loop_test(tcase, two_at_once, 0, N_IO_MODES);
    tcase_add_test(tcase, zeros_between_and_behind);
    tcase_add_loop_test(tcase, cancelled_while_it_reads, 0, N_IO_MODES);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
