/* Opens a model's weight files and reads their tables of contents. */
#include "daemon/weights/shards.h"

#include "common/definition/definition_value.h"
#include "common/formats/tensor_format.h"
#include "common/utf8.h"
#include "daemon/system/workers.h"
#include "daemon/weights/model_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

void shards_done(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->n_files; i++) {
        weight_file_done(&shards->files[i]);
        tensor_file_free(shards->tables[i]);
    }
    free(shards->files);
    free(shards->tables);
}

int shards_refuse_file(struct model_read_result *result, const char *path, const char *reason)
{
    return definition_refuse(&result->problem, NULL, "%.*s: %s",
                             utf8_prefix(path, QUOTED_BYTES_MAX), path, reason);
}

static int refuse_irregular(struct model_read_result *result, const char *path)
{
    return shards_refuse_file(result, path, "must be a regular file");
}

int shards_refuse_path(struct model_read_result *result, const char *path, int error)
{
    switch (error) {
    case -EINVAL:
        return refuse_irregular(result, path);
    case -ELOOP:
        return shards_refuse_file(result, path, "symbolic links below model-dir are not followed");
    case -EXDEV:
        return shards_refuse_file(result, path, "must be a path below model-dir, without \"..\"");
    default:
        return error;
    }
}

/* Puts the file's path before the problem's message. */
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
        return shards_refuse_file(result, path, "this weight file did not come with the call");

    _cleanup_(freep) char *beside = NULL;
    const char *slash = strrchr(source->path, '/');
    if (asprintf(&beside, "%.*s%s", slash ? (int)(slash - source->path) + 1 : 0, source->path,
                 path) < 0)
        return -ENOMEM;
    result->operation = "open";
    int fd = model_dir_open(source->model_dir, beside);
    if (fd == -ENOENT)
        return shards_refuse_file(result, path, "there is no such weight file");
    return fd < 0 ? shards_refuse_path(result, path, fd) : fd;
}

int shards_init_file(struct weight_file *file, int fd, const char *path,
                     struct model_read_result *result)
{
    result->operation = "read";
    int r = weight_file_init(file, fd, path);
    if (r == -EINVAL)
        return refuse_irregular(result, path);
    if (r == -EBADF)
        return shards_refuse_file(result, path, "the descriptor is not open for reading");
    return r;
}

/* Clears O_DIRECT if it makes a header's read fail. The client may have opened the descriptor with
 * it, or the loader may read another model from the same open file. The loader works without the
 * flag, too. */
int shards_pread(void *fd, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    enum { TRIES = 3 }; /* the loader may set it again */
    worker_reads();
    int r = byte_source_pread(fd, offset_bytes, buffer, n_bytes);
    for (int i = 0; i < TRIES && r == -EINVAL; i++) {
        int flags = fcntl(*(const int *)fd, F_GETFL);
        if (flags < 0 || fcntl(*(const int *)fd, F_SETFL, flags & ~O_DIRECT) < 0)
            return -errno;
        r = byte_source_pread(fd, offset_bytes, buffer, n_bytes);
    }
    worker_computes();
    return r;
}

int shards_add(struct shards *shards, struct weight_file *file, struct model_read_result *result)
{
    struct byte_source bytes = {shards_pread, &file->fd, file->bytes};
    int r = tensor_file_read(&bytes, &shards->tables[shards->n_files], &result->problem);
    if (r < 0) {
        if (r == -EBADMSG)
            name_file(&result->problem, file->path);
        weight_file_done(file);
        return r;
    }
    shards->n_tensors += (uint64_t)shards->tables[shards->n_files]->n_entries +
                         shards->tables[shards->n_files]->n_aliases;
    shards->files[shards->n_files++] = *file;
    return shards->n_tensors > DEFINITION_TENSORS_MAX
               ? shards_refuse_file(result, file->path,
                                    "with this file the model has more than 250,000 tensors")
               : 0;
}

int shards_open(struct model_source *source, struct shards *shards, const char *path,
                struct model_read_result *result)
{
    struct weight_file file;
    worker_reads();
    int fd = open_weights(source, path, result);
    if (fd < 0)
        return fd;
    int r = shards_init_file(&file, fd, path, result);
    worker_computes();
    return r < 0 ? r : shards_add(shards, &file, result);
}

int shards_make_room(struct shards *shards, uint32_t n_files)
{
    shards->files = calloc(n_files, sizeof *shards->files);
    shards->tables = calloc(n_files, sizeof *shards->tables);
    return shards->files && shards->tables ? 0 : -ENOMEM;
}
