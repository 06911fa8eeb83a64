/* Invariant: a weight file's descriptor is fds[i] where its entry in `weights` says i. Which paths
 * may be opened is definition_path_valid's to say: nothing outside of the file's own directory. */
#include "client/library/model_files.h"

#include "client/library/regular_file.h"
#include "client/library/safe_text.h"
#include "common/formats/shard_index.h"
#include "common/formats/tensor_format.h"
#include "common/json.h"

#include <errno.h>
#include <stdbool.h>
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

/* Opens the weight file `named`, beside `path`. */
static int add_weights(struct model_files *files, const char *path, const char *named,
                       struct model_files_failure *failure)
{
    _cleanup_(freep) char *beside = NULL;

    if (asprintf(&beside, "%.*s%s", length_of_directory(path), path, named) < 0) {
        beside = NULL;
        return -ENOMEM;
    }
    int fd = regular_file_open(beside);
    if (fd < 0) {
        failure->named = strdup(named);
        if (failure->named)
            failure->path = TAKE_PTR(beside);
        return fd;
    }
    files->fds[files->n_fds] = fd;
    json_t *entry = json_pack("{s:s, s:i}", "path", named, "fileDescriptor", (int)files->n_fds++);
    if (!files->weights)
        files->weights = json_array();
    return json_array_append_new(files->weights, entry) < 0 ? -ENOMEM : 0;
}

/* "llama" for "dir/llama.gguf". */
static char *stem(const char *path)
{
    const char *base = path + length_of_directory(path), *dot = strrchr(base, '.');
    _cleanup_(freep) char *name =
        strndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
    return name ? safe_text(name) : NULL;
}

/* The name of the directory that `path` is in. */
static char *directory_name(const char *path)
{
    _cleanup_(freep) char *directory = NULL, *resolved = NULL;

    if (asprintf(&directory, "%.*s.", length_of_directory(path), path) < 0) {
        directory = NULL;
        return NULL;
    }
    resolved = realpath(directory, NULL);
    const char *base = resolved ? resolved + length_of_directory(resolved) : "";
    return safe_text(*base ? base : "model");
}

/* An index names its shards, a definition at most one file. What is wrong with the text is found by
 * the daemon again, which tells where. */
static int add_named_files(struct model_files *files, const char *path, const char *text,
                           size_t n_bytes, struct model_files_failure *failure)
{
    static const struct json_limits limits = {
        .max_bytes = DEFINITION_BYTES_MAX,
        .max_depth = DEFINITION_DEPTH_MAX,
        .max_values = DEFINITION_VALUES_MAX,
    };
    static const char key[] = "\"weights\"";
    int r = 0;

    if (shard_index_detect(text, n_bytes)) {
        _cleanup_(shard_index_done) struct shard_index index = {0};
        struct definition_problem problem;
        files->name = directory_name(path);
        if (!files->name || shard_index_parse(text, n_bytes, &index, &problem) == -ENOMEM)
            return -ENOMEM;
        for (uint32_t i = 0; i < index.n_files && r == 0; i++)
            r = add_weights(files, path, index.files[i], failure);
    } else if (memmem(text, n_bytes, key, sizeof key - 1)) {
        struct json_problem problem;
        json_t *root = NULL;
        if (json_parse(text, n_bytes, &limits, &root, &problem) == -ENOMEM)
            return -ENOMEM;
        const json_t *weights = json_object_get(root, "weights");
        const char *named = json_string_value(weights);
        if (named && strlen(named) == json_string_length(weights) && definition_path_valid(named))
            r = add_weights(files, path, named, failure);
        json_decref(root);
    }
    return r;
}

static int add_all(struct model_files *files, const char *path, struct model_files_failure *failure)
{
    struct stat status;
    enum tensor_format format;

    if (fstat(files->fds[0], &status) < 0)
        return -errno;
    struct byte_source bytes = {byte_source_pread, &files->fds[0], (uint64_t)status.st_size};
    int r = tensor_format_detect(&bytes, &format);
    if (r < 0)
        return r;
    if (format != TENSOR_FORMAT_NONE) {
        files->name = stem(path);
        return files->name ? 0 : -ENOMEM;
    }
    if (bytes.size_bytes == 0 || bytes.size_bytes > DEFINITION_BYTES_MAX)
        return 0; /* whatever it is, the daemon refuses it */
    _cleanup_(freep) char *text = malloc(bytes.size_bytes);
    if (!text)
        return -ENOMEM;
    r = bytes.read(bytes.context, 0, text, bytes.size_bytes);
    return r < 0 ? r : add_named_files(files, path, text, bytes.size_bytes, failure);
}

int model_files_open(const char *path, int fd, struct model_files *ret,
                     struct model_files_failure *ret_failure)
{
    struct model_files files = {.fds = {fd}, .n_fds = 1};
    struct model_files_failure failure = {0};

    int r = add_all(&files, path, &failure);
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
