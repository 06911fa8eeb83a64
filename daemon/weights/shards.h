/* The weight files of one model while they are read. Blocks on files: for worker threads. Functions
 * that return int return 0; -EBADMSG with the result's problem; or another negative errno with the
 * operation that failed. */
#pragma once

#include "common/formats/tensor_file.h"
#include "daemon/weights/model_source.h"

struct shards {
    struct weight_file *files;
    struct tensor_file **tables; /* their contents */
    uint32_t n_files;
    uint64_t n_tensors;
};

void shards_done(struct shards *shards); /* safe on a zeroed one */

/* Once, for at most `n_files`. */
int shards_make_room(struct shards *shards, uint32_t n_files);

/* Opens the weight file `path`, which came with the call or lies beside the model's file. */
int shards_open(struct model_source *source, struct shards *shards, const char *path,
                struct model_read_result *result);

/* Takes what is in `file`, also on failure. */
int shards_add(struct shards *shards, struct weight_file *file, struct model_read_result *result);

/* Takes the descriptor, also on failure. */
int shards_init_file(struct weight_file *file, int fd, const char *path,
                     struct model_read_result *result);

/* A byte source's `read` for the descriptor that `fd` points to, whatever its flags. */
int shards_pread(void *fd, uint64_t offset_bytes, void *buffer, size_t n_bytes);

/* Of a path in a message. */
enum { QUOTED_BYTES_MAX = 100 };

int shards_refuse_file(struct model_read_result *result, const char *path, const char *reason);

/* What model_dir_open refused with `error`, and why. */
int shards_refuse_path(struct model_read_result *result, const char *path, int error);
