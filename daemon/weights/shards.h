/* The weight files of one model while they are read. Blocks on files, so use it on worker threads
 * only. Functions that return int return 0; -EBADMSG with the result's problem; or another negative
 * errno with the operation that failed. */
#pragma once

#include "common/formats/tensor_file.h"
#include "daemon/weights/model_source.h"

struct shards {
    struct weight_file *files;
    struct tensor_file **tables; /* their tables of contents */
    uint32_t n_files;
    uint64_t n_tensors;
};

void shards_done(struct shards *shards); /* safe on a zeroed struct */

/* Call it once, before the first shards_open or shards_add. `n_files` is the most files that
 * follow. */
int shards_make_room(struct shards *shards, uint32_t n_files);

/* Opens the weight file `path`, which came with the call or lies beside the model's file, and adds
 * it. */
int shards_open(struct model_source *source, struct shards *shards, const char *path,
                struct model_read_result *result);

/* Adds a file and reads its table of contents. Takes the contents of `file`, also on failure. */
int shards_add(struct shards *shards, struct weight_file *file, struct model_read_result *result);

/* Fills `file`. Takes the descriptor, also on failure. */
int shards_init_file(struct weight_file *file, int fd, const char *path,
                     struct model_read_result *result);

/* The `read` function of a byte source. `fd` points to the descriptor, whose flags do not
 * matter. */
int shards_pread(void *fd, uint64_t offset_bytes, void *buffer, size_t n_bytes);

/* The most bytes of a path in a message. */
enum { QUOTED_BYTES_MAX = 100 };

int shards_refuse_file(struct model_read_result *result, const char *path, const char *reason);

/* Sets the problem for a path that model_dir_open refused with `error`. */
int shards_refuse_path(struct model_read_result *result, const char *path, int error);
