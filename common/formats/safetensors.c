/* Reads a safetensors header.
 *
 * jansson would need hundreds of MiB for a whole header of 16 MiB. So the outermost object is split
 * into its members, and each member is parsed alone. Beside the text and the resulting entries,
 * this needs memory for only one tensor at a time. The split looks only at strings and brackets;
 * jansson decides whether a member is well-formed. */
#include "common/formats/safetensors.h"

#include "common/definition/definition_pool.h"
#include "common/json.h"
#include "common/memory_budget.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

/* The format's element types: all types of the reference implementation. */
static const char *const dtype_names[] = {
    "BOOL",    "F4",          "F6_E2M3",     "F6_E3M2", "U8",  "I8",  "F8_E5M2", "F8_E4M3",
    "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",     "U16", "F16", "BF16",    "I32",
    "U32",     "F32",         "C64",         "F64",     "I64", "U64",
};
enum { N_DTYPES = sizeof dtype_names / sizeof dtype_names[0] };

struct header {
    struct tensor_file_builder *builder;
    char *text; /* owned; reading changes it */
    size_t n_bytes;
    dtype dtypes[N_DTYPES]; /* of dtype_names */
    bool has_metadata;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_space(const struct header *header, size_t at)
{
    while (at < header->n_bytes && is_space(header->text[at]))
        at++;
    return at;
}

static int refuse_at(const struct header *header, size_t at, const char *message)
{
    return tensor_file_refuse(header->builder, "header", "byte %zu of the file: %s",
                              LENGTH_BYTES + at, message);
}

/* Finds the end of the member that begins at `at`: the index of the ',' or '}' after it. */
static int member_end(const struct header *header, size_t at, size_t *ret)
{
    const char *text = header->text;
    size_t depth = 0;

    for (; at < header->n_bytes; at++) {
        if (text[at] == '"') {
            for (at++; at < header->n_bytes && text[at] != '"'; at++)
                if (text[at] == '\\')
                    at++;
        } else if (text[at] == '{' || text[at] == '[') {
            depth++;
        } else if (text[at] == '}' || text[at] == ']') {
            if (depth == 0) {
                *ret = at;
                return 0;
            }
            depth--;
        } else if (text[at] == ',' && depth == 0) {
            *ret = at;
            return 0;
        }
    }
    return refuse_at(header, header->n_bytes, "the header ends too early");
}

/* Parses the member in [begin, end) as a separate object. The separators around it are overwritten
 * by braces. */
static int parse_member(struct header *header, size_t begin, size_t end, json_t **ret)
{
    static const struct json_limits limits = {
        .max_bytes = TENSOR_FILE_HEADER_MAX,
        .max_depth = 8,
        .max_values = 1000,
    };
    char *text = header->text + begin - 1;
    struct json_problem syntax;

    /* One long string is twice in jansson's memory. */
    if (!memory_budget_take(2 * (end - begin)))
        return -ENOMEM;
    text[0] = '{';
    text[end - begin + 1] = '}';
    int r = json_parse(text, end - begin + 2, &limits, ret, &syntax);
    memory_budget_give(2 * (end - begin));
    if (r == 0 || r == -ENOMEM)
        return r;
    const char *line = text;
    while (--syntax.line > 0)
        line = (const char *)rawmemchr(line, '\n') + 1;
    return refuse_at(header, (size_t)(line - header->text) + syntax.column - 1, syntax.message);
}

/* Calls `read` for each member of the object that begins at `at`. `*ret_end` is the index after the
 * object. */
static int each_member(struct header *header, size_t at, size_t *ret_end,
                       int (*read)(struct header *header, size_t begin, size_t end))
{
    for (size_t begin = at + 1;;) {
        size_t end = begin;
        int r = member_end(header, begin, &end);
        if (r < 0)
            return r;
        char separator = header->text[end];
        if (separator == ']')
            return refuse_at(header, end, "',' or '}' is expected");
        bool empty = skip_space(header, begin) == end;
        if (empty && (separator == ',' || begin > at + 1))
            return refuse_at(header, end, "a key is expected");
        r = empty ? 0 : read(header, begin, end);
        if (r < 0)
            return r;
        if (separator == '}') {
            *ret_end = end + 1;
            return 0;
        }
        begin = end + 1;
    }
}

static int read_metadatum(struct header *header, size_t begin, size_t end)
{
    json_t *json, *value;
    const char *key;
    int r = parse_member(header, begin, end, &json);

    if (r < 0)
        return r;
    json_object_foreach (json, key, value)
        r = json_is_string(value)
                ? tensor_file_add_alias(header->builder, key, json_string_value(value))
                : tensor_file_refuse(header->builder, "__metadata__",
                                     "must map strings to strings");
    json_decref(json);
    return r;
}

/* Whether the member's key is __metadata__. `*ret_value` is the index after its colon. */
static bool is_metadata(const struct header *header, size_t begin, size_t end, size_t *ret_value)
{
    static const char key[] = "\"__metadata__\"";
    size_t at = skip_space(header, begin);

    if (end - at < sizeof key - 1 || memcmp(header->text + at, key, sizeof key - 1) != 0)
        return false;
    at = skip_space(header, at + sizeof key - 1);
    if (header->text[at] != ':')
        return false;
    *ret_value = skip_space(header, at + 1);
    return true;
}

static int read_metadata(struct header *header, size_t at, size_t end)
{
    size_t behind;

    if (header->has_metadata)
        return tensor_file_refuse(header->builder, "__metadata__", "stands twice");
    header->has_metadata = true;
    if (header->text[at] != '{')
        return tensor_file_refuse(header->builder, "__metadata__", "must be an object");
    int r = each_member(header, at, &behind, read_metadatum);
    if (r < 0)
        return r;
    if (skip_space(header, behind) != end)
        return refuse_at(header, behind, "',' or '}' is expected");
    return 0;
}

static int read_dtype(const struct header *header, const char *tensor, json_t *json, dtype *ret)
{
    const char *name = json_string_value(json);

    if (!name)
        return tensor_file_refuse(header->builder, tensor, "dtype must be a string");
    for (int i = 0; i < N_DTYPES; i++)
        if (strcmp(name, dtype_names[i]) == 0) {
            *ret = header->dtypes[i];
            return 0;
        }
    return tensor_file_refuse(header->builder, tensor, "unknown dtype \"%.*s\"",
                              utf8_prefix(name, 32), name);
}

/* Reads an array of at most `n_max` non-negative integers. */
static int read_sizes(const struct header *header, const char *tensor, const char *key,
                      json_t *json, size_t n_max, uint64_t *ret, size_t *ret_n)
{
    size_t n = json_array_size(json);

    if (!json_is_array(json))
        return tensor_file_refuse(header->builder, tensor, "%s must be an array", key);
    if (n > n_max)
        return tensor_file_refuse(header->builder, tensor, "%s has %zu elements, more than %zu",
                                  key, n, n_max);
    for (size_t i = 0; i < n; i++) {
        json_t *size = json_array_get(json, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return tensor_file_refuse(header->builder, tensor,
                                      "%s[%zu] must be an integer of at least 0", key, i);
        ret[i] = (uint64_t)json_integer_value(size);
    }
    *ret_n = n;
    return 0;
}

/* All keys except these three are ignored, as in the reference implementation. */
static int add_tensor(struct header *header, const char *name, json_t *json)
{
    uint64_t shape[DEFINITION_RANK_MAX], offsets[2];
    struct tensor_entry entry = {.name = name, .shape = shape};
    const struct tensor_entry *added;
    size_t n_dims, n_offsets;

    if (!json_is_object(json))
        return tensor_file_refuse(header->builder, name, "must be an object");
    int r = read_dtype(header, name, json_object_get(json, "dtype"), &entry.type);
    if (r == 0)
        r = read_sizes(header, name, "shape", json_object_get(json, "shape"), DEFINITION_RANK_MAX,
                       shape, &n_dims);
    if (r == 0)
        r = read_sizes(header, name, "data_offsets", json_object_get(json, "data_offsets"), 2,
                       offsets, &n_offsets);
    if (r < 0)
        return r;
    if (n_offsets != 2)
        return tensor_file_refuse(header->builder, name, "data_offsets must have two elements");
    if (offsets[1] < offsets[0])
        return tensor_file_refuse(header->builder, name,
                                  "data_offsets [%" PRIu64 ", %" PRIu64 ") run backwards",
                                  offsets[0], offsets[1]);
    entry.n_dims = (uint8_t)n_dims;
    entry.file_offset_bytes = offsets[0];
    r = tensor_file_add(header->builder, &entry, &added);
    if (r < 0)
        return r;
    if (added->bytes != offsets[1] - offsets[0])
        return tensor_file_refuse(header->builder, name,
                                  "data_offsets [%" PRIu64 ", %" PRIu64 ") hold %" PRIu64
                                  " bytes, but dtype and shape make %" PRIu64,
                                  offsets[0], offsets[1], offsets[1] - offsets[0], added->bytes);
    return 0;
}

static int read_tensor(struct header *header, size_t begin, size_t end)
{
    size_t metadata;
    json_t *json, *value;
    const char *key, *name = NULL;

    if (is_metadata(header, begin, end, &metadata))
        return read_metadata(header, metadata, end);
    int r = parse_member(header, begin, end, &json);
    if (r < 0)
        return r;
    json_object_foreach (json, key, value) {
        r = tensor_file_name(header->builder, key, strlen(key), &name);
        if (r == 0)
            r = add_tensor(header, name, value);
    }
    json_decref(json);
    return r;
}

static int count_tensor(struct header *header, size_t begin, size_t end)
{
    size_t metadata;

    header->builder->n_entries_max += !is_metadata(header, begin, end, &metadata);
    return 0;
}

static int load_text(struct header *header)
{
    const struct tensor_file_builder *builder = header->builder;
    const struct byte_source *source = builder->source;
    uint8_t length[LENGTH_BYTES];
    uint64_t n_bytes = 0;

    if (source->size_bytes < sizeof length)
        return tensor_file_refuse(builder, "header", "the file has only %" PRIu64 " bytes",
                                  source->size_bytes);
    int r = source->read(source->context, 0, length, sizeof length);
    if (r < 0)
        return r;
    for (size_t i = sizeof length; i-- > 0;)
        n_bytes = n_bytes << 8 | length[i];
    if (n_bytes > TENSOR_FILE_HEADER_MAX)
        return tensor_file_refuse(builder, "header", "is %" PRIu64 " bytes long, more than %d",
                                  n_bytes, TENSOR_FILE_HEADER_MAX);
    if (n_bytes > source->size_bytes - sizeof length)
        return tensor_file_refuse(builder, "header",
                                  "ends at byte %" PRIu64 ", but the file has %" PRIu64,
                                  n_bytes + sizeof length, source->size_bytes);
    if (n_bytes == 0)
        return tensor_file_refuse(builder, "header", "is empty");
    header->text = memory_budget_calloc(1, n_bytes);
    if (!header->text)
        return -ENOMEM;
    header->n_bytes = n_bytes;
    r = source->read(source->context, sizeof length, header->text, n_bytes);
    if (r < 0)
        return r;
    return header->text[0] == '{' ? 0 : refuse_at(header, 0, "'{' is expected");
}

static int read_header(struct header *header)
{
    size_t behind;

    for (int i = 0; i < N_DTYPES; i++) {
        int r = dtype_parse(dtype_names[i], &header->dtypes[i]);
        if (r < 0)
            return r;
    }
    int r = load_text(header);
    if (r == 0)
        r = each_member(header, 0, &behind, count_tensor);
    if (r == 0)
        r = tensor_file_begin(header->builder, header->builder->n_entries_max);
    if (r == 0)
        r = each_member(header, 0, &behind, read_tensor);
    if (r < 0)
        return r;
    behind = skip_space(header, behind);
    if (behind < header->n_bytes)
        return refuse_at(header, behind, "only spaces may follow the object");
    return 0;
}

/* The format allows no gaps and no bytes after the last tensor. */
static int check_cover(const struct tensor_file_builder *builder, uint64_t data_offset_bytes)
{
    const struct tensor_file *file = builder->file;
    uint64_t end = data_offset_bytes;

    for (uint32_t i = 0; i < file->n_entries; i++) {
        const struct tensor_entry *entry = &file->entries[i];
        if (entry->file_offset_bytes != end)
            return tensor_file_refuse(
                builder, entry->name,
                "begins at byte %" PRIu64 " of the data, but the tensor before it ends at %" PRIu64,
                entry->file_offset_bytes - data_offset_bytes, end - data_offset_bytes);
        end += entry->bytes;
    }
    if (end != builder->source->size_bytes)
        return tensor_file_refuse(builder, "data",
                                  "ends at byte %" PRIu64 ", but the file has %" PRIu64, end,
                                  builder->source->size_bytes);
    return 0;
}

int safetensors_read(struct tensor_file_builder *builder)
{
    struct header header = {.builder = builder};

    int r = read_header(&header);
    uint64_t data_offset_bytes = LENGTH_BYTES + (uint64_t)header.n_bytes;
    if (header.text)
        memory_budget_give(header.n_bytes);
    free(header.text);
    if (r == 0)
        r = tensor_file_finish(builder, data_offset_bytes);
    return r < 0 ? r : check_cover(builder, data_offset_bytes);
}
