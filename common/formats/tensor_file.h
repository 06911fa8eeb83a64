/* A weight file's table of contents: its tensors and the places of their bytes.
 *
 * The first bytes decide which format a file has:
 *   safetensors  https://github.com/huggingface/safetensors (format section of its README)
 *   GGUF v2, v3  https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 * Headers are hostile input. A header has at most TENSOR_FILE_HEADER_MAX bytes, without GGUF's
 * metadata, which is skipped. Every offset and product is checked; ranges must be within the file
 * and must not overlap; names must be unique. The file's data is never read here. Thread-safe. */
#pragma once

#include "common/definition/definition.h"

enum { TENSOR_FILE_HEADER_MAX = 16 << 20, TENSOR_FILE_TENSORS_MAX = 250000 };

/* The source of the bytes: a descriptor, or memory in tests. `read` fills the whole buffer or
 * returns a negative errno. It is never called for bytes beyond `size_bytes`. */
struct byte_source {
    int (*read)(void *context, uint64_t offset_bytes, void *buffer, size_t n_bytes);
    void *context;
    uint64_t size_bytes;
};

/* pread(2) on the descriptor that `fd` points to. -EIO if the file has become shorter. */
int byte_source_pread(void *fd, uint64_t offset_bytes, void *buffer, size_t n_bytes);

struct tensor_entry {
    const char *name;
    const uint64_t *shape;      /* outermost first (GGUF has it innermost first) */
    uint64_t file_offset_bytes; /* absolute */
    uint64_t bytes;
    uint8_t n_dims;
    dtype type;
};

/* An alias in a file: `name` is another name of the tensor `kept`, which may be in another file of
 * the model or missing. */
struct tensor_alias {
    const char *name, *kept;
    const struct tensor_alias *next;
};

struct tensor_file {
    struct tensor_entry *entries; /* by file offset */
    uint32_t *by_name;            /* indices into entries, ordered by name */
    uint32_t n_entries;           /* > 0, except in a part of a split file */
    uint32_t n_aliases;
    const struct tensor_alias *aliases;
    uint32_t part, n_parts;       /* of a split GGUF file, from 0; n_parts is 0: not split */
    uint64_t n_parts_entries;     /* of all parts, according to this part; 0: it does not say */
    const char *model_name;       /* GGUF's general.name, unchecked; NULL: none */
    struct definition_pool *pool; /* owns the entries and everything that they point to */
};

struct tensor_file *tensor_file_free(struct tensor_file *file);
DEFINE_CLEANUP(struct tensor_file *, tensor_file_free);

/* Index of the entry with that name, or -ENOENT. O(log n). */
int64_t tensor_file_find(const struct tensor_file *file, const char *name);
