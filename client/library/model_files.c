/* Invariant: if the entry of a weight file in `weights` has the index i, its descriptor is fds[i].
 * definition_path_valid decides which paths may be opened: none outside of the main file's
 * directory. */
#include "client/library/model_files.h"

#include "client/library/model_name.h"
#include "client/library/regular_file.h"
#include "common/formats/part_name.h"
#include "common/formats/shard_index.h"
#include "common/formats/tensor_format.h"
#include "common/json.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert((int)SHARD_INDEX_FILES_MAX < (int)FRAME_FDS_MAX,
               "a message carries an index and its shards");

void model_files_done(struct model_files *files)
{
    for (size_t i = 0; i < files->n_fds; i++)
        close(files->fds[i]);
    json_decref(files->weights);
    free(files->name);
    *files = (struct model_files){0};
}

uint64_t model_files_unit_bytes(const struct model_files *files)
{
    enum { LEAST = 4 << 20, UNITS_MAX = 2048 };
    uint64_t bytes = 0;
    struct stat status;

    for (size_t i = 0; i < files->n_fds; i++)
        if (fstat(files->fds[i], &status) == 0)
            bytes += (uint64_t)status.st_size;
    return bytes / UNITS_MAX > LEAST ? bytes / UNITS_MAX : LEAST;
}

void model_files_failure_done(struct model_files_failure *failure)
{
    free(failure->path);
    free(failure->named);
    *failure = (struct model_files_failure){0};
}

static int length_of_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

/* Opens `named`, relative to the directory of `path`. Returns the descriptor, or a negative errno
 * with the failure set. */
static int open_beside(const char *path, const char *named, struct model_files_failure *failure)
{
    _cleanup_(freep) char *beside = NULL;

    if (asprintf(&beside, "%.*s%s", length_of_directory(path), path, named) < 0) {
        beside = NULL;
        return -ENOMEM;
    }
    int fd = regular_file_open(beside);
    if (fd < 0)
        failure->path = TAKE_PTR(beside);
    return fd;
}

/* Opens the weight file `named`, relative to the directory of `path`, and adds it to `weights`. */
static int add_weights(struct model_files *files, const char *path, const char *named,
                       struct model_files_failure *failure)
{
    int fd = open_beside(path, named, failure);
    if (fd < 0)
        return fd;
    files->fds[files->n_fds] = fd;
    json_t *entry = json_pack("{s:s, s:i}", "path", named, "fileDescriptor", (int)files->n_fds++);
    if (!files->weights)
        files->weights = json_array();
    return json_array_append_new(files->weights, entry) < 0 ? -ENOMEM : 0;
}

/* Opens all parts of a split GGUF file, whichever part `path` is. The first part becomes the main
 * file; the others follow in their order. */
static int add_parts(struct model_files *files, const char *path,
                     struct model_files_failure *failure)
{
    const char *base = path + length_of_directory(path);
    struct part_name name;
    int r = 0;

    if (!part_name_parse(base, ".gguf", &name))
        return 0;
    if (name.n_parts > FRAME_FDS_MAX)
        return -E2BIG;
    for (unsigned i = 1; i <= name.n_parts && r >= 0; i++) {
        _cleanup_(freep) char *named = NULL;
        if (asprintf(&named, "%.*s-%05u-of-%05u.gguf", (int)name.n_stem, base, i, name.n_parts) <
            0) {
            named = NULL;
            return -ENOMEM;
        }
        if (i > 1)
            r = add_weights(files, path, named, failure);
        else if (name.part > 1 && (r = open_beside(path, named, failure)) >= 0) {
            close(files->fds[0]);
            files->fds[0] = r;
        }
    }
    return r < 0 ? r : 0;
}

/* Opens a weight file that the text of `path` names. */
static int add_named(struct model_files *files, const char *path, const char *named,
                     struct model_files_failure *failure)
{
    int r = add_weights(files, path, named, failure);

    if (r < 0 && failure->path && !(failure->named = strdup(named))) {
        model_files_failure_done(failure);
        return -ENOMEM;
    }
    return r;
}

/* Opens the files that the text names: an index names its shards, a definition at most one file.
 * Errors in the text are ignored here, because the daemon finds them and reports where they are. */
static int add_named_files(struct model_files *files, const char *path, const char *text,
                           size_t n_bytes, bool by_directory, struct model_files_failure *failure)
{
    static const struct json_limits limits = {
        .max_bytes = DEFINITION_BYTES_MAX,
        .max_depth = DEFINITION_DEPTH_MAX,
        .max_values = DEFINITION_VALUES_MAX,
        .max_string_bytes = DEFINITION_STRING_BYTES_MAX,
    };
    static const char key[] = "\"weights\"";
    int r = shard_index_detect(text, n_bytes);

    if (r > 0) {
        _cleanup_(shard_index_done) struct shard_index index = {0};
        struct definition_problem problem;
        files->name = model_name_of_path(path, true, by_directory);
        if (!files->name || shard_index_parse(text, n_bytes, &index, &problem) == -ENOMEM)
            return -ENOMEM;
        r = 0;
        for (uint32_t i = 0; i < index.n_files && r == 0; i++)
            r = add_named(files, path, index.files[i], failure);
    } else if (r == 0 && memmem(text, n_bytes, key, sizeof key - 1)) {
        struct json_problem problem;
        json_t *root = NULL;
        if (json_parse(text, n_bytes, &limits, &root, &problem) == -ENOMEM)
            return -ENOMEM;
        const json_t *weights = json_object_get(root, "weights");
        const char *named = json_string_value(weights);
        if (named && strlen(named) == json_string_length(weights) && definition_path_valid(named))
            r = add_named(files, path, named, failure);
        json_decref(root);
    }
    return r;
}

/* Reads the text of fds[0]. */
static int add_text(struct model_files *files, const char *path, bool by_directory,
                    struct model_files_failure *failure)
{
    struct stat status;

    if (fstat(files->fds[0], &status) < 0)
        return -errno;
    struct byte_source bytes = {byte_source_pread, &files->fds[0], (uint64_t)status.st_size};
    int r;
    if (bytes.size_bytes == 0 || bytes.size_bytes > DEFINITION_BYTES_MAX)
        return 0; /* the daemon refuses it */
    _cleanup_(freep) char *text = malloc(bytes.size_bytes);
    if (!text)
        return -ENOMEM;
    r = bytes.read(bytes.context, 0, text, bytes.size_bytes);
    return r < 0 ? r : add_named_files(files, path, text, bytes.size_bytes, by_directory, failure);
}

/* If `path` is a shard, replaces it by the index in the same directory, because a shard does not
 * name the other shards. */
static int add_by_index(struct model_files *files, const char *path, const struct part_name *name,
                        bool by_directory, struct model_files_failure *failure)
{
    const char *base = path + length_of_directory(path);
    _cleanup_(freep) char *index = NULL;

    if (asprintf(&index, "%.*s.safetensors.index.json", (int)name->n_stem, base) < 0) {
        index = NULL;
        return -ENOMEM;
    }
    int fd = open_beside(path, index, failure);
    if (fd < 0)
        return fd;
    close(files->fds[0]);
    files->fds[0] = fd;
    return add_text(files, path, by_directory, failure);
}

static int add_all(struct model_files *files, const char *path, bool by_directory,
                   struct model_files_failure *failure)
{
    struct stat status;
    enum tensor_format format;
    struct part_name name;
    const char *base = path + length_of_directory(path);

    if (fstat(files->fds[0], &status) < 0)
        return -errno;
    struct byte_source bytes = {byte_source_pread, &files->fds[0], (uint64_t)status.st_size};
    int r = tensor_format_detect(&bytes, &format);
    if (r < 0)
        return r;
    if (format != TENSOR_FORMAT_NONE) {
        if (format == TENSOR_FORMAT_SAFETENSORS && part_name_parse(base, ".safetensors", &name) &&
            name.n_parts > 1)
            return add_by_index(files, path, &name, by_directory, failure);
        files->name = model_name_of_path(path, false, by_directory);
        if (!files->name)
            return -ENOMEM;
        return format == TENSOR_FORMAT_GGUF ? add_parts(files, path, failure) : 0;
    }
    return add_text(files, path, by_directory, failure);
}

int model_files_open(const char *path, int fd, bool by_directory, struct model_files *ret,
                     struct model_files_failure *ret_failure)
{
    struct model_files files = {.fds = {fd}, .n_fds = 1};
    struct model_files_failure failure = {0};

    int r = add_all(&files, path, by_directory, &failure);
    if (r == 0) {
        *ret = files;
        return 0;
    }
    model_files_done(&files);
    if (r != -ENOMEM && !failure.path)
        failure.path = strdup(path);
    *ret_failure = failure;
    return r;
}

int model_files_set_name(struct model_files *files, const char *name)
{
    if (!files->name)
        return -EINVAL;
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    free(files->name);
    files->name = copy;
    return 0;
}

int model_files_describe(const struct model_files *files, json_t *parameters)
{
    if (json_object_set_new(parameters, "definitionFileDescriptor", json_integer(0)) < 0 ||
        (files->weights && json_object_set(parameters, "weights", files->weights) < 0) ||
        (files->name && json_object_set_new(parameters, "name", json_string(files->name)) < 0))
        return -ENOMEM;
    return 0;
}
