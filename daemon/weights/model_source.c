/* Reading a model: what kind of file is it, which others does it name, what is in them. */
#include "daemon/weights/model_source.h"

#include "common/definition/definition_parse.h"
#include "common/definition/definition_value.h"
#include "common/formats/shard_index.h"
#include "common/formats/tensor_format.h"
#include "common/formats/weights.h"
#include "common/utf8.h"
#include "daemon/weights/model_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* The weight files of one model while they are read. */
struct shards {
    struct weight_file *files;
    struct tensor_file **tables; /* their contents */
    uint32_t n_files;
    uint64_t n_tensors;
};

void model_source_done(struct model_source *source)
{
    closep(&source->fd);
    free(source->text);
    free(source->path);
    free(source->model_dir);
    free(source->name);
    for (size_t i = 0; i < source->n_weights; i++) {
        closep(&source->weights[i].fd);
        free(source->weights[i].path);
    }
    free(source->weights);
    *source = MODEL_SOURCE_NONE;
}

static void shards_done(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->n_files; i++) {
        weight_file_done(&shards->files[i]);
        tensor_file_free(shards->tables[i]);
    }
    free(shards->files);
    free(shards->tables);
}

/* Of a path in a message. */
enum { QUOTED_BYTES_MAX = 100 };

static int refuse_file(struct model_read_result *result, const char *path, const char *reason)
{
    return definition_refuse(&result->problem, NULL, "%.*s: %s",
                             utf8_prefix(path, QUOTED_BYTES_MAX), path, reason);
}

static int refuse_irregular(struct model_read_result *result, const char *path)
{
    return refuse_file(result, path, "must be a regular file");
}

/* What model_dir_open refused, and why. */
static int refuse_path(struct model_read_result *result, const char *path, int error)
{
    switch (error) {
    case -EINVAL:
        return refuse_irregular(result, path);
    case -ELOOP:
        return refuse_file(result, path, "below model-dir no symbolic link is followed");
    case -EXDEV:
        return refuse_file(result, path, "must be a path below model-dir, without \"..\"");
    default:
        return error;
    }
}

/* Says which file a problem is about. */
static void name_file(struct definition_problem *problem, const char *path)
{
    struct definition_problem inner = *problem;
    snprintf(problem->message, sizeof problem->message, "%.*s: %.*s",
             utf8_prefix(path, QUOTED_BYTES_MAX), path, utf8_prefix(inner.message, 150),
             inner.message);
}

static int open_weights(struct model_source *source, const char *path,
                        struct model_read_result *result)
{
    for (size_t i = 0; i < source->n_weights; i++)
        if (strcmp(source->weights[i].path, path) == 0 && source->weights[i].fd >= 0)
            return TAKE_FD(source->weights[i].fd);
    if (!source->model_dir)
        return refuse_file(result, path, "this weight file did not come with the call");

    _cleanup_(freep) char *beside = NULL;
    const char *slash = strrchr(source->path, '/');
    if (asprintf(&beside, "%.*s%s", slash ? (int)(slash - source->path) + 1 : 0, source->path,
                 path) < 0)
        return -ENOMEM;
    result->operation = "open";
    int fd = model_dir_open(source->model_dir, beside);
    if (fd == -ENOENT)
        return refuse_file(result, path, "there is no such weight file");
    return fd < 0 ? refuse_path(result, path, fd) : fd;
}

/* Takes the descriptor, also on failure. */
static int init_file(struct weight_file *file, int fd, const char *path,
                     struct model_read_result *result)
{
    result->operation = "read";
    int r = weight_file_init(file, fd, path);
    if (r == -EINVAL)
        return refuse_irregular(result, path);
    if (r == -EBADF)
        return refuse_file(result, path, "the descriptor is not open for reading");
    return r;
}

/* A descriptor that a client opened with O_DIRECT, or that the loader reads another model from,
 * takes no reads of a header. The loader does not mind that the flag goes. */
static int read_plainly(void *fd, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    enum { TRIES = 3 }; /* the loader may set it again */
    int r = byte_source_pread(fd, offset_bytes, buffer, n_bytes);
    for (int i = 0; i < TRIES && r == -EINVAL; i++) {
        int flags = fcntl(*(const int *)fd, F_GETFL);
        if (flags < 0 || fcntl(*(const int *)fd, F_SETFL, flags & ~O_DIRECT) < 0)
            return -errno;
        r = byte_source_pread(fd, offset_bytes, buffer, n_bytes);
    }
    return r;
}

/* Takes what is in `file`, also on failure. */
static int add_shard(struct shards *shards, struct weight_file *file,
                     struct model_read_result *result)
{
    struct byte_source bytes = {read_plainly, &file->fd, file->bytes};
    int r = tensor_file_read(&bytes, &shards->tables[shards->n_files], &result->problem);
    if (r < 0) {
        if (r == -EBADMSG)
            name_file(&result->problem, file->path);
        weight_file_done(file);
        return r;
    }
    shards->n_tensors += shards->tables[shards->n_files]->n_entries;
    shards->files[shards->n_files++] = *file;
    return shards->n_tensors > DEFINITION_TENSORS_MAX
               ? refuse_file(result, file->path, "with it the model has more than 250,000 tensors")
               : 0;
}

static int open_shard(struct model_source *source, struct shards *shards, const char *path,
                      struct model_read_result *result)
{
    struct weight_file file;
    int fd = open_weights(source, path, result);
    if (fd < 0)
        return fd;
    int r = init_file(&file, fd, path, result);
    return r < 0 ? r : add_shard(shards, &file, result);
}

static int make_room(struct shards *shards, uint32_t n_files)
{
    shards->files = calloc(n_files, sizeof *shards->files);
    shards->tables = calloc(n_files, sizeof *shards->tables);
    return shards->files && shards->tables ? 0 : -ENOMEM;
}

/* The definition keeps the open files from here on. */
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
                                 "the file bears no name for the model: give one");
    int r =
        weights_group(name, shards->tables, shards->n_files, &result->definition, &result->problem);
    if (r == 0)
        keep_files(result->definition, shards);
    return r;
}

static int read_index(struct model_source *source, struct shards *shards,
                      struct model_read_result *result)
{
    _cleanup_(shard_index_done) struct shard_index index = {0};
    int r = shard_index_parse(source->text, source->n_bytes, &index, &result->problem);
    if (r == 0)
        r = make_room(shards, index.n_files);
    for (uint32_t i = 0; i < index.n_files && r == 0; i++)
        r = open_shard(source, shards, index.files[i], result);
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
                                     "%.*s does not hold this tensor, as the index says",
                                     utf8_prefix(index.files[i], QUOTED_BYTES_MAX), index.files[i]);
        }
    }
    return group(source, shards, result);
}

static int read_definition(struct model_source *source, struct shards *shards,
                           struct model_read_result *result)
{
    _cleanup_(definition_unrefp) struct definition *definition = NULL;
    int r = definition_parse(source->text, source->n_bytes, &definition, &result->problem);
    if (r < 0)
        return r;
    if (definition->weights) {
        r = make_room(shards, 1);
        if (r == 0)
            r = open_shard(source, shards, definition->weights, result);
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
    if (bytes->size_bytes > DEFINITION_BYTES_MAX)
        return definition_refuse(
            &result->problem, NULL,
            "a definition may be at most 16 MiB long, this file has %.1f MiB and is "
            "neither safetensors nor GGUF",
            (double)bytes->size_bytes / (1 << 20));
    source->n_bytes = bytes->size_bytes;
    source->text = malloc(source->n_bytes + 1);
    if (!source->text)
        return -ENOMEM;
    return bytes->read(bytes->context, 0, source->text, source->n_bytes);
}

/* "llama" for "dir/llama.gguf". */
static char *stem(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    return strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

static int read_file(struct model_source *source, struct shards *shards,
                     struct model_read_result *result)
{
    const char *path = source->path ? source->path : source->name ? source->name : "the file";
    struct weight_file file;
    enum tensor_format format;

    int r = init_file(&file, TAKE_FD(source->fd), path, result);
    if (r < 0)
        return r;
    struct byte_source bytes = {read_plainly, &file.fd, file.bytes};
    r = tensor_format_detect(&bytes, &format);
    if (r == 0)
        r = format == TENSOR_FORMAT_NONE ? read_text(source, &bytes, result) : make_room(shards, 1);
    if (r < 0 || format == TENSOR_FORMAT_NONE) {
        weight_file_done(&file);
        return r;
    }
    r = add_shard(shards, &file, result);
    return r < 0 ? r : group(source, shards, result);
}

int model_source_read(struct model_source *source, struct model_read_result *ret)
{
    _cleanup_(shards_done) struct shards shards = {0};
    int r = 0;

    *ret = (struct model_read_result){.operation = "open"};
    if (source->path) {
        source->fd = model_dir_open(source->model_dir, source->path);
        if (source->fd < 0)
            return refuse_path(ret, source->path, source->fd);
        if (!source->name && !(source->name = stem(source->path)))
            return -ENOMEM;
    }
    ret->operation = "read";
    if (source->fd >= 0)
        r = read_file(source, &shards, ret);
    if (r < 0 || ret->definition)
        return r;

    return shard_index_detect(source->text, source->n_bytes)
               ? read_index(source, &shards, ret)
               : read_definition(source, &shards, ret);
}
