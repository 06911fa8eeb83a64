/* Weight files in memory, for tests: only their headers, because the data is never read. */
#pragma once

#include "common/formats/tensor_format.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ck_assert for loops: Check's own reports every success to its parent, which is slow. */
#define REQUIRE(condition)                  \
    do {                                    \
        if (!(condition))                   \
            ck_abort_msg("%s", #condition); \
    } while (0)

struct bytes {
    uint8_t *at;
    size_t n, n_allocated;
    uint64_t size_bytes; /* of the file: n or more */
    int n_reads_left;    /* then they fail with EIO */
    size_t n_read_max;   /* the largest read so far */
};

static inline void bytes_add(struct bytes *bytes, const void *from, size_t n)
{
    if (bytes->n + n >= bytes->n_allocated) {
        bytes->n_allocated = 2 * (bytes->n + n) + 64;
        bytes->at = realloc(bytes->at, bytes->n_allocated);
        REQUIRE(bytes->at);
    }
    memcpy(bytes->at + bytes->n, from, n);
    bytes->n += n;
    bytes->size_bytes = bytes->n;
}

static inline void bytes_number(struct bytes *bytes, uint64_t number, size_t n)
{
    uint8_t digits[8];

    for (size_t i = 0; i < n; i++)
        digits[i] = (uint8_t)(number >> 8 * i);
    bytes_add(bytes, digits, n);
}

static inline int bytes_read(void *context, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    struct bytes *bytes = context;

    ck_assert_msg(offset_bytes <= bytes->size_bytes && n_bytes <= bytes->size_bytes - offset_bytes,
                  "read of %zu bytes at %" PRIu64, n_bytes, offset_bytes);
    if (n_bytes > bytes->n_read_max)
        bytes->n_read_max = n_bytes;
    if (bytes->n_reads_left-- == 0)
        return -EIO;
    size_t n = offset_bytes < bytes->n ? bytes->n - (size_t)offset_bytes : 0;
    if (n > n_bytes)
        n = n_bytes;
    if (n > 0)
        memcpy(buffer, bytes->at + offset_bytes, n);
    memset((uint8_t *)buffer + n, 0xee, n_bytes - n);
    return 0;
}

static inline int bytes_parse(struct bytes *bytes, struct tensor_file **ret,
                              struct definition_problem *problem)
{
    struct byte_source source = {bytes_read, bytes, bytes->size_bytes};

    /* Exactly as long as needed, so that sanitizers detect every read beyond it. */
    bytes->n_allocated = bytes->n ? bytes->n : 1;
    bytes->at = realloc(bytes->at, bytes->n_allocated);
    REQUIRE(bytes->at);
    bytes->n_reads_left = -1;
    *problem = (struct definition_problem){.line = 77};
    return tensor_file_read(&source, ret, problem);
}

/* A safetensors file with `n_data` bytes of data, which do not exist. */
static inline struct bytes safetensors_bytes(const char *header, uint64_t n_data)
{
    struct bytes bytes = {0};

    bytes_number(&bytes, strlen(header), 8);
    bytes_add(&bytes, header, strlen(header));
    bytes.size_bytes += n_data;
    return bytes;
}

enum { GGUF_U8 = 0, GGUF_U32 = 4, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9, GGUF_U64 = 10 };

static inline void gguf_string(struct bytes *bytes, const char *text)
{
    bytes_number(bytes, strlen(text), 8);
    bytes_add(bytes, text, strlen(text));
}

static inline void gguf_header(struct bytes *bytes, uint32_t version, uint64_t n_tensors,
                               uint64_t n_metadata)
{
    bytes_add(bytes, "GGUF", 4);
    bytes_number(bytes, version, 4);
    bytes_number(bytes, n_tensors, 8);
    bytes_number(bytes, n_metadata, 8);
}

static inline void gguf_key(struct bytes *bytes, const char *key, uint32_t type)
{
    gguf_string(bytes, key);
    bytes_number(bytes, type, 4);
}

/* An array; its elements follow. */
static inline void gguf_elements(struct bytes *bytes, uint32_t type, uint64_t n)
{
    bytes_number(bytes, type, 4);
    bytes_number(bytes, n, 8);
}

static inline void gguf_array(struct bytes *bytes, const char *key, uint32_t type, uint64_t n)
{
    gguf_key(bytes, key, GGUF_ARRAY);
    gguf_elements(bytes, type, n);
}

/* `dims` in the order of the file: innermost first. */
static inline void gguf_tensor(struct bytes *bytes, const char *name, uint32_t n_dims,
                               const uint64_t *dims, uint32_t type, uint64_t offset)
{
    gguf_string(bytes, name);
    bytes_number(bytes, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        bytes_number(bytes, dims[i], 8);
    bytes_number(bytes, type, 4);
    bytes_number(bytes, offset, 8);
}

/* Where the data begins, when the header ends here. */
static inline void gguf_data(struct bytes *bytes, uint32_t alignment, uint64_t n_data)
{
    while (bytes->n % alignment != 0)
        bytes_add(bytes, "", 1);
    bytes->size_bytes = bytes->n + n_data;
}

/* Checks that hold for every accepted file. */
static inline void check_tensor_file(const struct tensor_file *file, uint64_t size_bytes)
{
    uint64_t end = 0;

    REQUIRE(file->n_entries > 0);
    for (uint32_t i = 0; i < file->n_entries; i++) {
        const struct tensor_entry *entry = &file->entries[i];
        uint64_t n_elements = 1, bytes;
        REQUIRE(entry->n_dims <= DEFINITION_RANK_MAX);
        for (unsigned j = 0; j < entry->n_dims; j++)
            REQUIRE(!__builtin_mul_overflow(n_elements, entry->shape[j], &n_elements));
        REQUIRE(dtype_bytes(entry->type, n_elements, &bytes) == 0);
        REQUIRE(bytes == entry->bytes);
        REQUIRE(entry->file_offset_bytes <= size_bytes);
        REQUIRE(entry->bytes <= size_bytes - entry->file_offset_bytes);
        if (entry->bytes > 0) {
            REQUIRE(entry->file_offset_bytes >= end);
            end = entry->file_offset_bytes + entry->bytes;
        }
        REQUIRE(strlen(entry->name) >= 1);
        REQUIRE(strlen(entry->name) <= DEFINITION_NAME_MAX);
        REQUIRE(tensor_file_find(file, entry->name) == i);
        if (i > 0)
            REQUIRE(strcmp(file->entries[file->by_name[i - 1]].name,
                           file->entries[file->by_name[i]].name) < 0);
    }
}

static inline unsigned test_seed(void)
{
    const char *given = getenv("EDGEMIND_TEST_SEED");
    return given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
}

/* Changes, inserts, doubles or removes some bytes of the first `bytes->n`. */
static inline void mutate(struct bytes *bytes, unsigned *state)
{
    static const uint8_t favourites[] = {0, 1, 0x7f, 0x80, 0xff, '{', '}', '[', ']', '"', ',', ':'};

    for (int n = 1 + rand_r(state) % 3; n > 0 && bytes->n > 0; n--) {
        size_t at = (size_t)rand_r(state) % bytes->n;
        size_t n_moved = bytes->n - at - 1;
        switch (rand_r(state) % 4) {
        case 0:
            bytes->at[at] = (uint8_t)rand_r(state);
            break;
        case 1:
            bytes->at[at] = favourites[(size_t)rand_r(state) % sizeof favourites];
            break;
        case 2:
            bytes->at[at] = (uint8_t)(bytes->at[at] + 1 - 2 * (rand_r(state) % 2));
            break;
        default:
            memmove(bytes->at + at, bytes->at + at + 1, n_moved);
            bytes->n--;
            bytes->size_bytes--;
        }
    }
}
