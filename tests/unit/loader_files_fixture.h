/* A loader of layers in weight files: which bytes of the arena must be those of the files, and
 * which must not change. */
#pragma once

#include "tests/unit/loader_fixture.h"

enum { GUARD = 0xab, CAPACITY_MIB = 4 };

static const enum io_mode io_modes[] = {IO_AUTO, IO_DIRECT, IO_BUFFERED};
enum { N_IO_MODES = sizeof io_modes / sizeof io_modes[0] };

/* The arena's every byte is GUARD. */
static inline void begin_with_files(enum io_mode io, unsigned n_threads)
{
    begin(CAPACITY_MIB * MIB, COMMIT_BOOT, io, n_threads);
    memset(backing_base(bench.backing), GUARD, CAPACITY_MIB * MIB);
}

/* Makes a file of that many bytes, on the disk and out of the page cache, and opens it. */
static inline void add_file(uint64_t n_bytes)
{
    char path[128];
    unsigned file = bench.definition.n_files;
    snprintf(path, sizeof path, "%s/%u", directory, file);
    unsigned char *bytes = malloc(n_bytes);
    ck_assert_ptr_nonnull(bytes);
    for (uint64_t i = 0; i < n_bytes; i++)
        bytes[i] = (unsigned char)((i * 0x9e3779b97f4a7c15 >> 32) ^ (i >> 12) ^ file);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "%s: %m", path);
    ck_assert_int_eq(write(fd, bytes, n_bytes), n_bytes);
    bench.images[file] = bytes;
    ck_assert_int_eq(fsync(fd), 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    ck_assert_int_eq(weight_file_init(&bench.files[file], open(path, O_RDONLY | O_CLOEXEC), path),
                     0);
    bench.definition.n_files++;
}

static inline int reopen_for_writing(const struct weight_file *file)
{
    int fd = open(file->path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* The pieces' bytes must be placed as definition.h promises: with the same offset modulo the block
 * size, and in separate blocks. */
static inline struct layer *define(unsigned i, struct piece *pieces, uint32_t n_pieces)
{
    struct layer_definition *layer = &bench.definitions[i];
    uint64_t end = 0;
    *layer = (struct layer_definition){
        .name = "l",
        .pieces = pieces,
        .n_pieces = n_pieces,
        .shift_bytes = (uint32_t)(pieces[0].file_offset_bytes % piece_align_bytes()),
    };
    for (uint32_t p = 0; p < n_pieces; p++) {
        if (p > 0) {
            uint64_t block = (end + layer->shift_bytes + piece_align_bytes() - 1) /
                             piece_align_bytes() * piece_align_bytes();
            pieces[p].layer_offset_bytes =
                block + pieces[p].file_offset_bytes % piece_align_bytes() - layer->shift_bytes;
        }
        end = pieces[p].layer_offset_bytes + pieces[p].bytes;
    }
    layer->bytes = end;
    return &bench.layers[i];
}

static inline uint64_t block_floor(uint64_t offset_bytes)
{
    return offset_bytes - offset_bytes % piece_align_bytes();
}

/* The layer's pages have the right bytes, and all others have not changed. The rest of a piece's
 * blocks has the bytes of the file there. */
static inline void check_bytes(const struct layer *layer)
{
    const struct layer_definition *definition = layer_definition(layer);
    const unsigned char *base = backing_base(bench.backing);
    uint64_t n_bytes = layer->allocation.n_pages * page, n = 0;
    unsigned char *bytes = malloc(n_bytes);
    bool *owned = calloc(CAPACITY_MIB * MIB / page, sizeof *owned);

    ck_assert(bytes && owned);
    for (const struct extent *extent = allocation_extents(&layer->allocation),
                             *end = allocation_end(&layer->allocation);
         extent < end; extent++) {
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
        ck_assert_msg(memcmp(bytes + begin, bench.images[piece->source] + piece->file_offset_bytes,
                             piece->bytes) == 0,
                      "piece %u", p);
        n = block_floor(end + piece_align_bytes() - 1);
    }
    ck_assert_msg(all(bytes + n, 0, n_bytes - n), "zeros behind the last piece");
    for (uint64_t i = 0; i < CAPACITY_MIB * MIB / page; i++)
        ck_assert_msg(owned[i] || all(base + i * page, GUARD, page),
                      "page %" PRIu64 " is nobody's, and was written", i);
    free(owned);
    free(bytes);
}

static inline void forget(struct layer *layer)
{
    release(layer);
    memset(backing_base(bench.backing), GUARD, CAPACITY_MIB * MIB);
}

static const uint64_t file_bytes = 3 * MIB + 12345;
