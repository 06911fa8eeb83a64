/* The checks that do not depend on the format. Offsets in refusals count from the start of the
 * data, as in the formats. */
#include "common/formats/tensor_file_builder.h"

#include "common/definition/definition_pool.h"
#include "common/definition/definition_value.h"
#include "common/utf8.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* The maximum length of another tensor's name in a message, which also needs room for figures. */
enum { QUOTED_BYTES_MAX = 80 };

int tensor_file_refuse(const struct tensor_file_builder *builder, const char *path,
                       const char *format, ...)
{
    struct place place = {.key = path};
    char message[sizeof builder->problem->message];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    /* The message may quote the file. */
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return definition_refuse(builder->problem, &place, "%s", message);
}

int tensor_file_begin(struct tensor_file_builder *builder, uint64_t n_entries)
{
    struct tensor_file *file = builder->file;

    if (n_entries > TENSOR_FILE_TENSORS_MAX)
        return tensor_file_refuse(builder, "header", "names %" PRIu64 " tensors, more than %d",
                                  n_entries, TENSOR_FILE_TENSORS_MAX);
    size_t n_room = n_entries > 0 ? n_entries : 1;
    file->entries = definition_pool_alloc(file->pool, n_room * sizeof *file->entries);
    file->by_name = definition_pool_alloc(file->pool, n_room * sizeof *file->by_name);
    if (!file->entries || !file->by_name)
        return -ENOMEM;
    builder->n_entries_max = (uint32_t)n_entries;
    return 0;
}

int tensor_file_name(const struct tensor_file_builder *builder, const char *name, uint64_t n_bytes,
                     const char **ret)
{
    struct place array = {.key = "tensors"};
    struct place place = {.parent = &array, .index = builder->file->n_entries};

    if (n_bytes == 0 || n_bytes > DEFINITION_NAME_MAX)
        return definition_refuse(builder->problem, &place,
                                 "the name has %" PRIu64 " bytes, but must have 1 to %d", n_bytes,
                                 DEFINITION_NAME_MAX);
    for (size_t i = 0; i < n_bytes;) {
        uint32_t character;
        size_t n = utf8_character(name + i, n_bytes - i, &character);
        if (n == 0)
            return definition_refuse(builder->problem, &place, "byte %zu of the name is not UTF-8",
                                     i);
        if (utf8_is_control(character))
            return definition_refuse(builder->problem, &place,
                                     "byte %zu of the name is a control character", i);
        i += n;
    }
    char *copy = definition_pool_string(builder->file->pool, n_bytes);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, name, n_bytes);
    *ret = copy;
    return 0;
}

int tensor_file_add(struct tensor_file_builder *builder, const struct tensor_entry *entry,
                    const struct tensor_entry **ret)
{
    struct tensor_file *file = builder->file;
    uint64_t n_elements = 1, bytes = 0;
    int r = 0;

    assert(file->n_entries < builder->n_entries_max);
    assert(entry->n_dims <= DEFINITION_RANK_MAX);
    for (unsigned i = 0; i < entry->n_dims; i++) {
        /* Sizes must be valid JSON integers. */
        if (entry->shape[i] > INT64_MAX)
            return tensor_file_refuse(builder, entry->name,
                                      "a dimension of %" PRIu64 " is too large", entry->shape[i]);
        if (__builtin_mul_overflow(n_elements, entry->shape[i], &n_elements))
            r = -EOVERFLOW;
    }
    if (r == 0)
        r = dtype_bytes(entry->type, n_elements, &bytes);
    if (r == -EINVAL)
        return tensor_file_refuse(builder, entry->name,
                                  "%" PRIu64 " elements of %s do not fill whole bytes", n_elements,
                                  dtype_name(entry->type));
    if (r < 0)
        return tensor_file_refuse(builder, entry->name, "has more than 2^64 - 1 bytes");

    uint64_t *shape = definition_pool_alloc(file->pool, entry->n_dims * sizeof *shape);
    if (!shape)
        return -ENOMEM;
    memcpy(shape, entry->shape, entry->n_dims * sizeof *shape);
    struct tensor_entry *copy = &file->entries[file->n_entries++];
    *copy = *entry;
    copy->shape = shape;
    copy->bytes = bytes;
    *ret = copy;
    return 0;
}

static bool can_name(const char *text)
{
    size_t n_bytes = strlen(text);

    for (size_t i = 0; i < n_bytes;) {
        uint32_t character;
        size_t n = utf8_character(text + i, n_bytes - i, &character);
        if (n == 0 || utf8_is_control(character))
            return false;
        i += n;
    }
    return n_bytes > 0 && n_bytes <= DEFINITION_NAME_MAX;
}

static const char *copy_string(struct definition_pool *pool, const char *text)
{
    size_t n_bytes = strlen(text);
    char *copy = definition_pool_string(pool, n_bytes);
    return copy ? memcpy(copy, text, n_bytes) : NULL;
}

int tensor_file_add_alias(struct tensor_file_builder *builder, const char *name, const char *kept)
{
    struct tensor_file *file = builder->file;

    if (!can_name(name) || !can_name(kept))
        return 0;
    if (file->n_aliases == TENSOR_FILE_TENSORS_MAX)
        return tensor_file_refuse(builder, "header", "has more than %d other names of tensors",
                                  TENSOR_FILE_TENSORS_MAX);
    struct tensor_alias *alias = definition_pool_alloc(file->pool, sizeof *alias);
    if (!alias)
        return -ENOMEM;
    *alias = (struct tensor_alias){copy_string(file->pool, name), copy_string(file->pool, kept),
                                   file->aliases};
    if (!alias->name || !alias->kept)
        return -ENOMEM;
    file->aliases = alias;
    file->n_aliases++;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct tensor_entry *x = a, *y = b;

    if (x->file_offset_bytes != y->file_offset_bytes)
        return x->file_offset_bytes < y->file_offset_bytes ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int check_ranges(const struct tensor_file_builder *builder, uint64_t data_offset_bytes)
{
    const struct tensor_file *file = builder->file;
    const struct tensor_entry *previous = NULL; /* that has bytes */

    for (uint32_t i = 0; i < file->n_entries; i++) {
        struct tensor_entry *entry = &file->entries[i];
        uint64_t begin = entry->file_offset_bytes, end, file_end;
        if (__builtin_add_overflow(begin, entry->bytes, &end) ||
            __builtin_add_overflow(end, data_offset_bytes, &file_end))
            return tensor_file_refuse(builder, entry->name,
                                      "begins at byte %" PRIu64 " of the data and has %" PRIu64
                                      " bytes: more than 2^64 - 1",
                                      begin, entry->bytes);
        if (file_end > builder->source->size_bytes)
            return tensor_file_refuse(builder, entry->name,
                                      "ends at byte %" PRIu64 ", but the file has %" PRIu64,
                                      file_end, builder->source->size_bytes);
        entry->file_offset_bytes = begin + data_offset_bytes;
        if (entry->bytes == 0)
            continue;
        if (previous && entry->file_offset_bytes < previous->file_offset_bytes + previous->bytes) {
            uint64_t other = previous->file_offset_bytes - data_offset_bytes;
            return tensor_file_refuse(
                builder, entry->name,
                "bytes [%" PRIu64 ", %" PRIu64 ") of the data overlap [%" PRIu64 ", %" PRIu64
                ") of \"%.*s\"",
                begin, end, other, other + previous->bytes,
                utf8_prefix(previous->name, QUOTED_BYTES_MAX), previous->name);
        }
        previous = entry;
    }
    return 0;
}

static int compare_names(const void *a, const void *b, void *context)
{
    const struct tensor_entry *entries = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int r = strcmp(entries[i].name, entries[j].name);
    return r ? r : (i > j) - (i < j);
}

int tensor_file_finish(struct tensor_file_builder *builder, uint64_t data_offset_bytes)
{
    struct tensor_file *file = builder->file;

    assert(file->n_entries == builder->n_entries_max);
    if (file->n_entries == 0 && file->n_parts <= 1)
        return tensor_file_refuse(builder, "header", "names no tensors");
    qsort(file->entries, file->n_entries, sizeof *file->entries, compare_ranges);
    int r = check_ranges(builder, data_offset_bytes);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < file->n_entries; i++)
        file->by_name[i] = i;
    qsort_r(file->by_name, file->n_entries, sizeof *file->by_name, compare_names, file->entries);
    for (uint32_t i = 1; i < file->n_entries; i++) {
        const struct tensor_entry *one = &file->entries[file->by_name[i - 1]],
                                  *other = &file->entries[file->by_name[i]];
        if (strcmp(one->name, other->name) == 0)
            return tensor_file_refuse(builder, one->name,
                                      "two tensors have this name, at bytes %" PRIu64
                                      " and %" PRIu64 " of the data",
                                      one->file_offset_bytes - data_offset_bytes,
                                      other->file_offset_bytes - data_offset_bytes);
    }
    return 0;
}
