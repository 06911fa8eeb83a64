/* Goes through a model's layers in order, again and again, as one of the arms of stream.sh.
 *   stream run FILE OFFSET LAYERS LAYER_BYTES REPEATS PASSES CHECKSUM ARM
 * FILE holds layers of LAYER_BYTES bytes each from OFFSET on. Each is read REPEATS times, block by
 * block, so that all but the first time is from the CPU's cache: that stands for compute. ARM:
 *   mmap                the file is mapped
 *   willneed            the same, and the next layer is advised before one is used
 *   mlock LOCKED PLACE  the same as mmap, and so many are locked: PLACE is "first" or "spread"
 *   arena SOCKET PID    a run through the daemon that listens there
 * Prints for every pass but the first its seconds, and the bytes that were read from the disk.
 * Fails unless every pass's checksum is CHECKSUM; fails with 3 if the layers cannot be locked.
 *   stream measure FILE OFFSET LAYERS LAYER_BYTES REPEATS
 * Prints what a pass is made of: the seconds to load one layer, with direct reads on as many
 * threads and of the same size as the daemon's; the seconds to compute it when it is resident, once
 * and REPEATS times over; the REPEATS that take a quarter longer than the load; the checksum. */
#include "client/library/edgemind.h"
#include "common/clock.h"
#include "tests/bench/sum.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, READ_THREADS = 2, BLOCK_BYTES = 32 << 10, DOES_NOT_FIT = 3 };

struct model {
    const char *path;
    uint64_t offset_bytes, n_layers, layer_bytes;
};

static double seconds_since(uint64_t begin_usec)
{
    return (double)(clock_monotonic_usec() - begin_usec) / 1e6;
}

/* The sum of the bytes, which does not depend on the repeats. The compiler cannot omit any of
 * them. */
static uint64_t compute(const unsigned char *bytes, uint64_t n_bytes, unsigned n_repeats)
{
    uint64_t sum = 0;
    for (uint64_t n; n_bytes > 0; bytes += n, n_bytes -= n) {
        uint64_t block_sum = 0;
        n = n_bytes < BLOCK_BYTES ? n_bytes : BLOCK_BYTES;
        for (unsigned i = 0; i < n_repeats; i++) {
            block_sum = sum_words(bytes, n);
            __asm__ volatile("" : "+r"(block_sum) : : "memory");
        }
        sum += block_sum;
    }
    return sum;
}

/* Also detects layers in a wrong order. */
static uint64_t add_layer(uint64_t checksum, uint64_t sum)
{
    return checksum * 31 + sum;
}

struct reader {
    const struct model *model;
    int fd;
    unsigned char *buffer;
    _Atomic uint64_t next_bytes;
};

static void *read_chunks(void *argument)
{
    struct reader *reader = argument;
    uint64_t total_bytes = reader->model->n_layers * reader->model->layer_bytes, begin;

    while ((begin = atomic_fetch_add(&reader->next_bytes, READ_BYTES)) < total_bytes) {
        uint64_t n = total_bytes - begin < READ_BYTES ? total_bytes - begin : READ_BYTES;
        if (pread(reader->fd, reader->buffer + begin, n,
                  (off_t)(reader->model->offset_bytes + begin)) != (ssize_t)n)
            err(1, "direct read");
    }
    return NULL;
}

/* Into memory that is allocated already, with the arena's kind of pages. */
static double load_seconds(const struct model *model, unsigned char *buffer)
{
    struct reader reader = {model, open(model->path, O_RDONLY | O_DIRECT), buffer, 0};
    pthread_t threads[READ_THREADS];

    if (reader.fd < 0)
        err(1, "%s", model->path);
    uint64_t begin = clock_monotonic_usec();
    for (int i = 0; i < READ_THREADS; i++)
        if (pthread_create(&threads[i], NULL, read_chunks, &reader) != 0)
            err(1, "pthread_create");
    for (int i = 0; i < READ_THREADS; i++)
        pthread_join(threads[i], NULL);
    double seconds = seconds_since(begin);
    close(reader.fd);
    return seconds;
}

static double compute_seconds(const struct model *model, const unsigned char *bytes,
                              unsigned n_repeats, uint64_t *ret_checksum)
{
    uint64_t checksum = 0, begin = clock_monotonic_usec();
    for (uint64_t i = 0; i < model->n_layers; i++)
        checksum = add_layer(
            checksum, compute(bytes + i * model->layer_bytes, model->layer_bytes, n_repeats));
    *ret_checksum = checksum;
    return seconds_since(begin);
}

static void measure(const struct model *model, unsigned n_repeats)
{
    enum { SAMPLE_REPEATS = 9 };
    uint64_t total_bytes = model->n_layers * model->layer_bytes, checksum;
    unsigned char *buffer =
        mmap(NULL, total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        err(1, "mmap");
    /* With the arena's kind of pages: huge pages if the system has them. */
    (void)madvise(buffer, total_bytes, MADV_HUGEPAGE);
    memset(buffer, 1, total_bytes);

    double load = load_seconds(model, buffer);
    double once = compute_seconds(model, buffer, 1, &checksum);
    double sample = compute_seconds(model, buffer, SAMPLE_REPEATS, &checksum);
    double repeated = compute_seconds(model, buffer, n_repeats, &checksum);
    double each = (sample - once) / (SAMPLE_REPEATS - 1);
    double wanted = 1 + (1.25 * load - once) / each;
    double n = (double)model->n_layers;
    printf("%.6f %.6f %.6f %.0f %" PRIu64 "\n", load / n, once / n, repeated / n,
           wanted < 1 ? 1 : wanted, checksum);
    munmap(buffer, total_bytes);
}

struct arm {
    const struct model *model;
    /* For the arms without the daemon: the file from its first byte. */
    const unsigned char *file;
    bool advise;
    /* For the arm with the daemon. */
    struct edgemind *em;
    struct edgemind_run *run;
    const char *pid;
};

static const unsigned char *layer_in_file(const struct arm *arm, uint64_t index)
{
    return arm->file + arm->model->offset_bytes + index * arm->model->layer_bytes;
}

static void map_file(struct arm *arm)
{
    struct stat status;
    int fd = open(arm->model->path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) < 0)
        err(1, "%s", arm->model->path);
    arm->file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (arm->file == MAP_FAILED)
        err(1, "mmap");
    close(fd);
}

/* Calls madvise first, because readahead loads folios that reach beyond the layer and are then
 * locked, too. */
static void lock_layers(const struct arm *arm, uint64_t n_locked, bool spread)
{
    uint64_t n_layers = arm->model->n_layers, n_bytes = arm->model->layer_bytes;
    for (uint64_t i = 0; i < n_layers; i++) {
        if (spread ? (i + 1) * n_locked / n_layers == i * n_locked / n_layers : i >= n_locked)
            continue;
        void *layer = (void *)layer_in_file(arm, i);
        if (madvise(layer, n_bytes, MADV_WILLNEED) < 0 || mlock(layer, n_bytes) < 0)
            err(DOES_NOT_FIT, "mlock");
    }
}

/* Loads as many layers as fit; the run loads the others. */
static void begin_run(struct arm *arm, const char *socket)
{
    arm->em = edgemind_new();
    int r = edgemind_connect(arm->em, socket);
    if (r == 0)
        r = edgemind_load(arm->em, arm->model->path, "model", "ask", NULL);
    if (r == 0 || r == -ENOSPC)
        r = edgemind_run_begin(arm->em, "model", &arm->run);
    if (r < 0)
        errx(1, "%s", edgemind_error_text(arm->em));
}

static const unsigned char *use_layer(const struct arm *arm, uint64_t index)
{
    struct edgemind_step step;

    if (arm->run) {
        if (edgemind_run_next(arm->run, 0, &step) < 0)
            errx(1, "%s", edgemind_error_text(arm->em));
        if (step.index != index || edgemind_layer_bytes(step.layer) != arm->model->layer_bytes)
            errx(1, "not the layer that was expected");
        return edgemind_layer_data(step.layer);
    }
    if (arm->advise)
        madvise((void *)layer_in_file(arm, (index + 1) % arm->model->n_layers),
                arm->model->layer_bytes, MADV_WILLNEED);
    return layer_in_file(arm, index);
}

/* How many bytes were read from disks for a process, by read or by faults. */
static uint64_t read_bytes(const char *pid)
{
    char path[64];
    uint64_t n_bytes;
    snprintf(path, sizeof path, "/proc/%s/io", pid);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "rchar: %*u wchar: %*u syscr: %*u syscw: %*u read_bytes: %" SCNu64,
                        &n_bytes) != 1)
        err(1, "%s", path);
    fclose(file);
    return n_bytes;
}

static uint64_t all_read_bytes(const struct arm *arm)
{
    return read_bytes("self") + (arm->pid ? read_bytes(arm->pid) : 0);
}

static void run(const struct arm *arm, unsigned n_repeats, unsigned n_passes, uint64_t expected)
{
    for (unsigned pass = 0; pass < n_passes; pass++) {
        uint64_t before_bytes = all_read_bytes(arm), begin = clock_monotonic_usec(), checksum = 0;
        for (uint64_t i = 0; i < arm->model->n_layers; i++)
            checksum =
                add_layer(checksum, compute(use_layer(arm, i), arm->model->layer_bytes, n_repeats));
        double seconds = seconds_since(begin);
        if (checksum != expected)
            errx(1, "wrong bytes in pass %u", pass);
        if (pass > 0)
            printf("%.6f %" PRIu64 "\n", seconds, all_read_bytes(arm) - before_bytes);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: stream run FILE OFFSET LAYERS LAYER_BYTES REPEATS PASSES CHECKSUM\n"
                    "           mmap | willneed | mlock LOCKED first|spread | arena SOCKET PID\n"
                    "       stream measure FILE OFFSET LAYERS LAYER_BYTES REPEATS\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return usage();
    struct model model = {argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
                          strtoull(argv[5], NULL, 10)};
    unsigned n_repeats = (unsigned)strtoul(argv[6], NULL, 10);
    if (argc == 7 && strcmp(argv[1], "measure") == 0) {
        measure(&model, n_repeats);
        return 0;
    }
    const char *name = argc == 10 || argc == 12 ? argv[9] : "";
    struct arm arm = {.model = &model, .advise = strcmp(name, "willneed") == 0};
    if (strcmp(name, argc == 12 ? "arena" : "") == 0) {
        arm.pid = argv[11];
        begin_run(&arm, argv[10]);
    } else if (strcmp(name, argc == 12 ? "mlock" : "mmap") == 0 || arm.advise) {
        map_file(&arm);
        if (argc == 12)
            lock_layers(&arm, strtoull(argv[10], NULL, 10), strcmp(argv[11], "spread") == 0);
    } else {
        return usage();
    }
    run(&arm, n_repeats, (unsigned)strtoul(argv[7], NULL, 10), strtoull(argv[8], NULL, 10));
    edgemind_run_end(arm.run);
    edgemind_free(arm.em);
    return 0;
}
