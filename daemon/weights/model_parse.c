/* Reads a model: finds out what kind of file it is, which other files it names, and what they
 * contain. */
#include "daemon/weights/model_parse.h"

#include "common/definition/definition_parse.h"
#include "common/definition/definition_value.h"
#include "common/fd_path.h"
#include "common/formats/file_kind.h"
#include "common/formats/part_name.h"
#include "common/formats/shard_index.h"
#include "common/formats/tensor_format.h"
#include "common/formats/weights.h"
#include "common/memory_budget.h"
#include "common/utf8.h"
#include "daemon/system/workers.h"
#include "daemon/weights/model_dir.h"
#include "daemon/weights/shards.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Gives the open files to the definition. */
static void keep_files(struct definition *definition, struct shards *shards)
{
    definition->files = TAKE_PTR(shards->files);
    definition->n_files = shards->n_files;
    for (uint32_t i = 0; i < shards->n_files; i++)
        tensor_file_free(shards->tables[i]);
    shards->n_files = 0;
}

static int group(struct model_source *source, struct shards *shards,
                 struct model_read_result *result)
{
    const char *name = source->name ? source->name : shards->tables[0]->model_name;
    if (!name)
        return definition_refuse(&result->problem, NULL,
                                 "the file has no name for the model: give one");
    int r = weights_group(name, shards->tables, shards->n_files, source->unit_bytes,
                          &result->definition, &result->problem);
    if (r == 0)
        keep_files(result->definition, shards);
    return r;
}

/* Large texts are no longer needed when they have been parsed. */
static void free_text(struct model_source *source)
{
    free(TAKE_PTR(source->text));
    memory_budget_give(source->n_bytes);
}

static int read_index(struct model_source *source, struct shards *shards,
                      struct model_read_result *result)
{
    _cleanup_(shard_index_done) struct shard_index index = {0};
    worker_computes();
    int r = shard_index_parse(source->text, source->n_bytes, &index, &result->problem);
    free_text(source);
    if (r == 0)
        r = shards_make_room(shards, index.n_files);
    for (uint32_t i = 0; i < index.n_files && r == 0; i++)
        r = shards_open(source, shards, index.files[i], result);
    if (r < 0)
        return r;

    const char *tensor;
    json_t *file;
    json_object_foreach (index.weight_map, tensor, file) {
        uint32_t i = 0;
        while (strcmp(index.files[i], json_string_value(file)) != 0)
            i++;
        if (tensor_file_find(shards->tables[i], tensor) < 0) {
            struct place place = {.key = tensor};
            return definition_refuse(&result->problem, &place,
                                     "%.*s does not hold this tensor, although the index says so",
                                     utf8_prefix(index.files[i], QUOTED_BYTES_MAX), index.files[i]);
        }
    }
    return group(source, shards, result);
}

static int read_definition(struct model_source *source, struct shards *shards,
                           struct model_read_result *result)
{
    _cleanup_(definition_unrefp) struct definition *definition = NULL;
    worker_computes();
    int r = definition_parse(source->text, source->n_bytes, &definition, &result->problem);
    free_text(source);
    if (r < 0)
        return r;
    if (definition->weights) {
        r = shards_make_room(shards, 1);
        if (r == 0)
            r = shards_open(source, shards, definition->weights, result);
        if (r == 0)
            r = weights_bind(definition, shards->tables, 1, &result->problem);
        if (r < 0)
            return r;
        keep_files(definition, shards);
    }
    result->definition = TAKE_PTR(definition);
    return 0;
}

static int read_text(struct model_source *source, const struct byte_source *bytes,
                     struct model_read_result *result)
{
    const char *kind;
    int r = file_kind_detect(bytes, &kind);
    if (r < 0)
        return r;
    if (kind)
        return definition_refuse(&result->problem, NULL, "%s", kind);
    if (bytes->size_bytes > DEFINITION_BYTES_MAX)
        return definition_refuse(&result->problem, NULL,
                                 "this file has %.1f MiB and is neither safetensors nor GGUF; a "
                                 "definition may have at most 16 MiB",
                                 (double)bytes->size_bytes / (1 << 20));
    source->n_bytes = bytes->size_bytes;
    source->text = memory_budget_calloc(1, source->n_bytes);
    if (!source->text)
        return -ENOMEM;
    return bytes->read(bytes->context, 0, source->text, source->n_bytes);
}

/* Returns "llama" for "dir/llama.gguf", and also for its part "dir/llama-00002-of-00003.gguf". */
static char *stem(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    struct part_name name;
    if (part_name_parse(base, ".gguf", &name))
        return strndup(base, name.n_stem);
    return strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

/* For a file below model-dir: opens its other parts, which lie beside it under names of the same
 * pattern. */
static int open_named_parts(struct model_source *source, struct shards *shards, uint32_t n_files,
                            struct model_read_result *result)
{
    const char *slash = strrchr(source->path, '/'), *base = slash ? slash + 1 : source->path;
    struct part_name name;
    int r = 0;

    if (!part_name_parse(base, ".gguf", &name) || name.n_parts != n_files)
        return shards_refuse_file(result, source->path,
                                  "is a part of a split GGUF file, but its name does not have the "
                                  "form NAME-00001-of-00002.gguf");
    for (unsigned i = 1; i <= name.n_parts && r == 0; i++) {
        _cleanup_(freep) char *other = NULL;
        if (i == name.part)
            continue;
        if (asprintf(&other, "%.*s-%05u-of-%05u.gguf", (int)name.n_stem, base, i, name.n_parts) <
            0) {
            other = NULL;
            return -ENOMEM;
        }
        r = shards_open(source, shards, other, result);
    }
    return r;
}

/* Sets `*ret` to the file's name on disk if that is a part's name; otherwise leaves it NULL. */
static int part_on_disk(int fd, char **ret, struct part_name *ret_name)
{
    char path[PATH_MAX];
    int r = fd_path(fd, path);
    if (r < 0)
        return r == -ENAMETOOLONG ? 0 : r;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!part_name_parse(base, ".gguf", ret_name))
        return 0;
    *ret = strdup(base);
    return *ret ? 0 : -ENOMEM;
}

/* Detects parts of different models, if more than the first part says of which model it is. Most
 * tools say it only there. */
static int check_models(const struct shards *shards, struct model_read_result *result)
{
    const char *first = NULL;

    for (uint32_t i = 0; i < shards->n_files; i++) {
        const char *name = shards->tables[i]->model_name;
        if (!first)
            first = name;
        else if (name && strcmp(name, first) != 0)
            return definition_refuse(&result->problem, NULL,
                                     "the parts of this split GGUF file do not belong together: "
                                     "part %u and an earlier part have different names of their "
                                     "model (general.name)",
                                     (unsigned)i + 1);
    }
    return 0;
}

/* Detects parts of different splits that have the same number of tensors: all tools give the parts
 * of one split the same stem. A file with another kind of name, such as its checksum in a cache, is
 * not checked. */
static int check_names(const struct shards *shards, struct model_read_result *result)
{
    _cleanup_(freep) char *first = NULL;
    struct part_name first_name = {0};
    enum { PART_BYTES_MAX = 80 };

    for (uint32_t i = 0; i < shards->n_files; i++) {
        struct part_name name;
        _cleanup_(freep) char *other = NULL;
        int r = part_on_disk(shards->files[i].fd, &other, &name);
        if (r < 0)
            return r;
        if (!other)
            continue;
        if (!first) {
            first = TAKE_PTR(other);
            first_name = name;
        } else if (name.n_stem != first_name.n_stem || memcmp(other, first, name.n_stem) != 0) {
            return definition_refuse(&result->problem, NULL,
                                     "the names of this split GGUF file's parts say that they do "
                                     "not belong together: %.*s and %.*s",
                                     utf8_prefix(first, PART_BYTES_MAX), first,
                                     utf8_prefix(other, PART_BYTES_MAX), other);
        }
    }
    return 0;
}

/* Detects parts of another split or another model: each part says how many tensors all parts have
 * together. */
static int check_tensor_counts(const struct shards *shards, struct model_read_result *result)
{
    uint64_t n_entries = 0;

    for (uint32_t i = 0; i < shards->n_files; i++)
        n_entries += shards->tables[i]->n_entries;
    for (uint32_t i = 0; i < shards->n_files; i++) {
        uint64_t expected = shards->tables[i]->n_parts_entries;
        if (expected > 0 && expected != n_entries)
            return definition_refuse(&result->problem, NULL,
                                     "the parts of this split GGUF file do not belong together: "
                                     "part %u says that all parts have %" PRIu64
                                     " tensors, but the given parts have %" PRIu64,
                                     (unsigned)i + 1, expected, n_entries);
    }
    return 0;
}

/* Puts the parts in order, and refuses them if they are not exactly the parts of one file. */
static int order_parts(const struct shards *shards, uint32_t n_parts,
                       struct model_read_result *result)
{
    for (uint32_t i = 0; i < shards->n_files; i++) {
        const struct tensor_file *table = shards->tables[i];
        if (table->n_parts != n_parts)
            return shards_refuse_file(result, shards->files[i].path,
                                      "is no part of the same split GGUF file as the others");
    }
    for (uint32_t i = 0; i < shards->n_files;) {
        uint32_t part = shards->tables[i]->part;
        if (part == i) {
            i++;
            continue;
        }
        /* Only the parts before `i` are in their places. If another part is in its own place, too,
         * it came twice. */
        if (part < i || part >= shards->n_files || shards->tables[part]->part == part)
            break;
        struct tensor_file *table = shards->tables[i];
        struct weight_file file = shards->files[i];
        shards->tables[i] = shards->tables[part];
        shards->files[i] = shards->files[part];
        shards->tables[part] = table;
        shards->files[part] = file;
    }
    for (uint32_t part = 0; part < n_parts; part++) {
        bool is_there = false;
        for (uint32_t i = 0; i < shards->n_files; i++)
            is_there |= shards->tables[i]->part == part;
        if (!is_there)
            return definition_refuse(&result->problem, NULL,
                                     "this is a split GGUF file, and part %u of %u is missing",
                                     (unsigned)part + 1, (unsigned)n_parts);
    }
    if (shards->n_files != n_parts)
        return definition_refuse(&result->problem, NULL,
                                 "this is a split GGUF file of %u parts, but %u files were given",
                                 (unsigned)n_parts, (unsigned)shards->n_files);
    int r = check_tensor_counts(shards, result);
    if (r == 0)
        r = check_models(shards, result);
    return r < 0 ? r : check_names(shards, result);
}

/* Reads a split file. The first file is one of its parts; the others came with the call, or lie
 * beside it. */
static int read_parts(struct model_source *source, struct shards *shards, uint32_t n_parts,
                      struct model_read_result *result)
{
    int r = 0;

    if (n_parts > SHARD_INDEX_FILES_MAX)
        return shards_refuse_file(
            result, shards->files[0].path,
            "belongs to a split GGUF file with more parts than a call can carry");
    if (source->path)
        r = open_named_parts(source, shards, n_parts, result);
    for (size_t i = 0; i < source->n_weights && r == 0 && !source->path; i++)
        r = shards_open(source, shards, source->weights[i].path, result);
    return r == 0 ? order_parts(shards, n_parts, result) : r;
}

static int read_file(struct model_source *source, struct shards *shards,
                     struct model_read_result *result)
{
    const char *path = source->path ? source->path : source->name ? source->name : "the file";
    struct weight_file file;
    enum tensor_format format;

    int r = shards_init_file(&file, TAKE_FD(source->fd), path, result);
    if (r < 0)
        return r;
    struct byte_source bytes = {shards_pread, &file.fd, file.bytes};
    r = tensor_format_detect(&bytes, &format);
    if (r == 0)
        r = format == TENSOR_FORMAT_NONE
                ? read_text(source, &bytes, result)
                : shards_make_room(shards, source->path ? SHARD_INDEX_FILES_MAX
                                                        : (uint32_t)source->n_weights + 1);
    if (r < 0 || format == TENSOR_FORMAT_NONE) {
        weight_file_done(&file);
        return r;
    }
    r = shards_add(shards, &file, result);
    if (r == 0 && shards->tables[0]->n_parts > 1)
        r = read_parts(source, shards, shards->tables[0]->n_parts, result);
    return r < 0 ? r : group(source, shards, result);
}

static int parse(struct model_source *source, struct model_read_result *ret)
{
    _cleanup_(shards_done) struct shards shards = {0};
    int r = 0;

    *ret = (struct model_read_result){.operation = "open"};
    if (source->path) {
        source->fd = model_dir_open(source->model_dir, source->path);
        if (source->fd < 0)
            return shards_refuse_path(ret, source->path, source->fd);
        if (!source->name && !(source->name = stem(source->path)))
            return -ENOMEM;
    }
    ret->operation = "read";
    bool is_read = source->fd >= 0;
    if (is_read)
        r = read_file(source, &shards, ret);
    if (r < 0 || ret->definition)
        return r;
    if (!is_read && !memory_budget_take(source->n_bytes))
        return -ENOMEM;

    r = shard_index_detect(source->text, source->n_bytes);
    if (r < 0)
        return r;
    return r > 0 ? read_index(source, &shards, ret) : read_definition(source, &shards, ret);
}

int model_parse(struct model_source *source, struct model_read_result *ret)
{
    memory_budget_use(source->use ? &source->use->budget : NULL);
    int r = parse(source, ret);
    memory_budget_use(NULL);
    return r == -ENOMEM && source->use && source->use->budget.is_exceeded ? -EDQUOT : r;
}
