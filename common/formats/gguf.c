/* Reads a GGUF header through a small window. Most of the metadata is skipped, so memory does not
 * grow with the vocabulary: only a few values, such as the alignment and the model's name, are
 * kept. */
#include "common/formats/gguf.h"

#include "common/definition/definition_pool.h"
#include "common/formats/gguf_type.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum {
    WINDOW_BYTES = 64 << 10,
    DIMS_MAX = 4,
    DEFAULT_ALIGNMENT = 32,
    TENSOR_INFO_BYTES_MIN = 8 + 1 + 4 + 4 + 8 /* name's length, name, rank, type, offset */
};

enum value_type {
    VALUE_U16 = 2,
    VALUE_U32 = 4,
    VALUE_I32 = 5,
    VALUE_STRING = 8,
    VALUE_ARRAY = 9,
    N_VALUE_TYPES = 13
};
/* Sizes by value type; 0 if the size depends on the value. */
static const uint8_t value_bytes[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct reader {
    struct tensor_file_builder *builder;
    uint64_t offset_bytes; /* of the next byte to read */
    uint64_t end_bytes;    /* reading stops here: the file's end, or this part's limit */
    const char *part;
    uint32_t part_bytes_max;
    uint64_t window_offset_bytes;
    size_t window_used_bytes;
    char *window; /* owned; WINDOW_BYTES */
    dtype dtypes[GGUF_TYPES];
    uint32_t alignment; /* 0: the file does not say */
};

static void begin_part(struct reader *reader, const char *part, uint32_t bytes_max)
{
    uint64_t size_bytes = reader->builder->source->size_bytes;

    reader->part = part;
    reader->part_bytes_max = bytes_max;
    reader->end_bytes = size_bytes - reader->offset_bytes > bytes_max
                            ? reader->offset_bytes + bytes_max
                            : size_bytes;
}

static int refuse_end(const struct reader *reader)
{
    if (reader->end_bytes == reader->builder->source->size_bytes)
        return tensor_file_refuse(reader->builder, "header",
                                  "the file ends at byte %" PRIu64 ", inside the header",
                                  reader->end_bytes);
    return tensor_file_refuse(reader->builder, "header", "%s of more than %" PRIu32 " bytes",
                              reader->part, reader->part_bytes_max);
}

static int skip(struct reader *reader, uint64_t n_bytes)
{
    if (n_bytes > reader->end_bytes - reader->offset_bytes)
        return refuse_end(reader);
    reader->offset_bytes += n_bytes;
    return 0;
}

static int read_bytes(struct reader *reader, void *ret, size_t n_bytes)
{
    const struct byte_source *source = reader->builder->source;
    char *to = ret;

    if (n_bytes > reader->end_bytes - reader->offset_bytes)
        return refuse_end(reader);
    while (n_bytes > 0) {
        uint64_t at = reader->offset_bytes - reader->window_offset_bytes;
        if (at >= reader->window_used_bytes) { /* only forwards */
            uint64_t n_left = reader->end_bytes - reader->offset_bytes;
            size_t n_window = n_left < WINDOW_BYTES ? (size_t)n_left : WINDOW_BYTES;
            int r = source->read(source->context, reader->offset_bytes, reader->window, n_window);
            if (r < 0)
                return r;
            reader->window_offset_bytes = reader->offset_bytes;
            reader->window_used_bytes = n_window;
            at = 0;
        }
        size_t n = reader->window_used_bytes - (size_t)at;
        if (n > n_bytes)
            n = n_bytes;
        memcpy(to, reader->window + at, n);
        to += n;
        n_bytes -= n;
        reader->offset_bytes += n;
    }
    return 0;
}

static int read_number(struct reader *reader, size_t n_bytes, uint64_t *ret)
{
    uint8_t bytes[8];
    uint64_t number = 0;

    int r = read_bytes(reader, bytes, n_bytes);
    if (r < 0)
        return r;
    for (size_t i = n_bytes; i-- > 0;)
        number = number << 8 | bytes[i];
    *ret = number;
    return 0;
}

static int read_u32(struct reader *reader, uint32_t *ret)
{
    uint64_t number;

    int r = read_number(reader, 4, &number);
    if (r == 0)
        *ret = (uint32_t)number;
    return r;
}

static int read_u64(struct reader *reader, uint64_t *ret)
{
    return read_number(reader, 8, ret);
}

static int skip_string(struct reader *reader)
{
    uint64_t n_bytes;

    int r = read_u64(reader, &n_bytes);
    return r < 0 ? r : skip(reader, n_bytes);
}

/* `key` is for refusals. GGUF_ARRAY_DEPTH_MAX bounds the recursion. Loops are bounded because each
 * element takes a minimum of bytes. */
static int skip_array(struct reader *reader, const char *key, unsigned depth)
{
    uint32_t type;
    uint64_t n_elements, n_bytes;

    int r = read_u32(reader, &type);
    if (r == 0)
        r = read_u64(reader, &n_elements);
    if (r < 0)
        return r;
    if (type >= N_VALUE_TYPES)
        return tensor_file_refuse(reader->builder, key,
                                  "unknown type %" PRIu32 " of an array's elements", type);
    if (type == VALUE_ARRAY && depth == GGUF_ARRAY_DEPTH_MAX)
        return tensor_file_refuse(reader->builder, key, "arrays nested deeper than %u levels",
                                  depth);
    if (value_bytes[type] > 0)
        return __builtin_mul_overflow(n_elements, (uint64_t)value_bytes[type], &n_bytes)
                   ? refuse_end(reader)
                   : skip(reader, n_bytes);
    for (uint64_t i = 0; i < n_elements && r == 0; i++)
        r = type == VALUE_STRING ? skip_string(reader) : skip_array(reader, key, depth + 1);
    return r;
}

static int read_alignment(struct reader *reader, uint32_t type)
{
    static const char key[] = "general.alignment";
    uint32_t alignment;

    if (type != VALUE_U32)
        return tensor_file_refuse(reader->builder, key, "must be a 32-bit unsigned integer");
    if (reader->alignment != 0)
        return tensor_file_refuse(reader->builder, key, "stands twice");
    int r = read_u32(reader, &alignment);
    if (r < 0)
        return r;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
        return tensor_file_refuse(reader->builder, key, "%" PRIu32 " is not a power of two",
                                  alignment);
    reader->alignment = alignment;
    return 0;
}

/* The index of this part of a split file, from 0, or the number of parts. */
static int read_part(struct reader *reader, const char *key, uint32_t type, uint32_t *ret)
{
    uint64_t number;

    if (type != VALUE_U16)
        return tensor_file_refuse(reader->builder, key, "must be a 16-bit unsigned integer");
    int r = read_number(reader, 2, &number);
    *ret = r == 0 ? (uint32_t)number : 0;
    return r;
}

/* Reads at most as many bytes as a definition's name may have. The content is not checked. */
static int read_model_name(struct reader *reader)
{
    struct tensor_file *file = reader->builder->file;
    uint64_t n_bytes;

    int r = read_u64(reader, &n_bytes);
    if (r < 0)
        return r;
    size_t n_kept = n_bytes < DEFINITION_NAME_MAX ? (size_t)n_bytes : DEFINITION_NAME_MAX;
    char *name = definition_pool_string(file->pool, n_kept);
    if (!name)
        return -ENOMEM;
    r = read_bytes(reader, name, n_kept);
    if (r < 0)
        return r;
    file->model_name = name;
    return skip(reader, n_bytes - n_kept);
}

static int read_metadatum(struct reader *reader)
{
    struct tensor_file *file = reader->builder->file;
    char key[64]; /* longer keys are cut, because no key of interest is longer */
    uint64_t n_key;
    uint32_t type = 0;

    int r = read_u64(reader, &n_key);
    if (r < 0)
        return r;
    size_t n_kept = n_key < sizeof key ? (size_t)n_key : sizeof key - 1;
    r = read_bytes(reader, key, n_kept);
    if (r == 0)
        r = skip(reader, n_key - n_kept);
    if (r == 0)
        r = read_u32(reader, &type);
    if (r < 0)
        return r;
    /* Keys are ASCII. Other bytes must not reach a reply. */
    for (size_t i = 0; i < n_kept; i++)
        if (key[i] < 0x20 || key[i] > 0x7e)
            key[i] = '?';
    key[n_kept] = '\0';

    if (type >= N_VALUE_TYPES)
        return tensor_file_refuse(reader->builder, key, "unknown type %" PRIu32 " of a value",
                                  type);
    if (strcmp(key, "general.alignment") == 0)
        return read_alignment(reader, type);
    if (strcmp(key, "general.name") == 0 && type == VALUE_STRING && !file->model_name)
        return read_model_name(reader);
    if (strcmp(key, "split.no") == 0)
        return read_part(reader, key, type, &file->part);
    if (strcmp(key, "split.count") == 0)
        return read_part(reader, key, type, &file->n_parts);
    if (strcmp(key, "split.tensors.count") == 0 && type == VALUE_I32)
        return read_number(reader, 4, &file->n_parts_entries);
    if (type == VALUE_ARRAY)
        return skip_array(reader, key, 1);
    return type == VALUE_STRING ? skip_string(reader) : skip(reader, value_bytes[type]);
}

static int read_tensor_name(struct reader *reader, const char **ret)
{
    char name[DEFINITION_NAME_MAX];
    uint64_t n_bytes;

    int r = read_u64(reader, &n_bytes);
    if (r < 0)
        return r;
    if (n_bytes <= sizeof name)
        r = read_bytes(reader, name, (size_t)n_bytes);
    return r < 0 ? r : tensor_file_name(reader->builder, name, n_bytes, ret);
}

static int read_type(struct reader *reader, struct tensor_entry *entry)
{
    uint32_t type;

    int r = read_u32(reader, &type);
    if (r < 0)
        return r;
    if (type >= GGUF_TYPES)
        return tensor_file_refuse(reader->builder, entry->name, "unknown type %" PRIu32, type);
    if (gguf_type_is_removed(type))
        return tensor_file_refuse(reader->builder, entry->name, "type %s, which GGUF no longer has",
                                  gguf_type_names[type]);
    entry->type = reader->dtypes[type];
    return 0;
}

static int read_tensor(struct reader *reader)
{
    uint64_t shape[DIMS_MAX], unused;
    struct tensor_entry entry = {.shape = shape};
    const struct tensor_entry *added;
    uint32_t n_dims = 0;

    int r = read_tensor_name(reader, &entry.name);
    if (r == 0)
        r = read_u32(reader, &n_dims);
    if (r < 0)
        return r;
    if (n_dims > DIMS_MAX)
        return tensor_file_refuse(reader->builder, entry.name,
                                  "%" PRIu32 " dimensions, more than %d", n_dims, DIMS_MAX);
    entry.n_dims = (uint8_t)n_dims;
    for (uint32_t i = n_dims; i-- > 0 && r == 0;)
        r = read_u64(reader, &shape[i]); /* innermost first in the file */
    if (r == 0)
        r = read_type(reader, &entry);
    if (r == 0)
        r = read_u64(reader, &entry.file_offset_bytes);
    if (r < 0)
        return r;
    uint64_t row = n_dims > 0 ? shape[n_dims - 1] : 1;
    if (dtype_bytes(entry.type, row, &unused) == -EINVAL)
        return tensor_file_refuse(reader->builder, entry.name,
                                  "rows of %" PRIu64 " elements do not fill whole blocks of %s",
                                  row, dtype_name(entry.type));
    uint32_t alignment = reader->alignment ? reader->alignment : DEFAULT_ALIGNMENT;
    if (entry.file_offset_bytes % alignment != 0)
        return tensor_file_refuse(reader->builder, entry.name,
                                  "offset %" PRIu64 " is not a multiple of the alignment %" PRIu32,
                                  entry.file_offset_bytes, alignment);
    return tensor_file_add(reader->builder, &entry, &added);
}

static int check_version(const struct reader *reader, uint32_t version)
{
    if (version == 2 || version == 3)
        return 0;
    if (version == 1)
        return tensor_file_refuse(reader->builder, "header",
                                  "GGUF version 1, which is obsolete: convert the file");
    if ((version & 0xffff) == 0)
        return tensor_file_refuse(reader->builder, "header", "big-endian GGUF is not supported");
    return tensor_file_refuse(reader->builder, "header", "unknown GGUF version %" PRIu32, version);
}

static int read_header(struct reader *reader, uint64_t *ret_data_offset_bytes)
{
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_metadata = 0;

    begin_part(reader, "metadata", GGUF_METADATA_MAX);
    int r = skip(reader, strlen("GGUF"));
    if (r == 0)
        r = read_u32(reader, &version);
    if (r == 0)
        r = check_version(reader, version);
    if (r == 0)
        r = read_u64(reader, &n_tensors);
    if (r == 0)
        r = read_u64(reader, &n_metadata);
    /* Allocates memory for at most as many tensors as the file has room to describe. */
    if (r == 0 && n_tensors <= TENSOR_FILE_TENSORS_MAX &&
        n_tensors > reader->builder->source->size_bytes / TENSOR_INFO_BYTES_MIN)
        r = refuse_end(reader);
    if (r == 0)
        r = tensor_file_begin(reader->builder, n_tensors);
    for (uint64_t i = 0; r == 0 && i < n_metadata; i++)
        r = read_metadatum(reader);
    const struct tensor_file *file = reader->builder->file;
    if (r == 0 && file->n_parts > 0 && file->part >= file->n_parts)
        r = tensor_file_refuse(reader->builder, "split.no",
                               "%" PRIu32 " is none of %" PRIu32 " parts, which count from 0",
                               file->part, file->n_parts);
    if (r == 0)
        begin_part(reader, "a table of tensors", TENSOR_FILE_HEADER_MAX);
    for (uint64_t i = 0; r == 0 && i < n_tensors; i++)
        r = read_tensor(reader);
    if (r < 0)
        return r;
    uint64_t alignment = reader->alignment ? reader->alignment : DEFAULT_ALIGNMENT;
    *ret_data_offset_bytes = (reader->offset_bytes + alignment - 1) & ~(alignment - 1);
    return 0;
}

int gguf_read(struct tensor_file_builder *builder)
{
    struct reader reader = {.builder = builder};
    uint64_t data_offset_bytes;

    for (int i = 0; i < GGUF_TYPES; i++) {
        int r = gguf_type_is_removed((uint32_t)i)
                    ? 0
                    : dtype_parse(gguf_type_names[i], &reader.dtypes[i]);
        if (r < 0)
            return r;
    }
    reader.window = malloc(WINDOW_BYTES);
    if (!reader.window)
        return -ENOMEM;
    int r = read_header(&reader, &data_offset_bytes);
    free(reader.window);
    return r < 0 ? r : tensor_file_finish(builder, data_offset_bytes);
}
