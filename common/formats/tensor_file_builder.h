/* Fills a tensor_file with checked entries, for the readers of all formats.
 *
 * Order of calls: begin, then add for every tensor and alias, then finish. Each returns 0, -EBADMSG
 * with the problem set, or -ENOMEM. */
#pragma once

#include "common/formats/tensor_file.h"

struct tensor_file_builder {
    struct tensor_file *file; /* it has its pool; begin allocates its entries */
    const struct byte_source *source;
    struct definition_problem *problem;
    uint32_t n_entries_max;
};

/* Refuses the file because of `path`, a tensor's name or a field. */
int tensor_file_refuse(const struct tensor_file_builder *builder, const char *path,
                       const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Room for `n_entries` tensors. Refuses more than TENSOR_FILE_TENSORS_MAX. */
int tensor_file_begin(struct tensor_file_builder *builder, uint64_t n_entries);

/* 1 to DEFINITION_NAME_MAX bytes of UTF-8 without controls; `name` need not end with NUL. Returns a
 * copy that the file owns. */
int tensor_file_name(const struct tensor_file_builder *builder, const char *name, uint64_t n_bytes,
                     const char **ret);

/* Adds one tensor; its name comes from tensor_file_name, `file_offset_bytes` counts from the start
 * of the data, `shape` is copied and `bytes` is computed. Returns the new entry. */
int tensor_file_add(struct tensor_file_builder *builder, const struct tensor_entry *entry,
                    const struct tensor_entry **ret);

/* Adds another name of a tensor; both names are copied. Ignores a pair if one of them cannot be a
 * tensor's name. Refuses more than TENSOR_FILE_TENSORS_MAX. */
int tensor_file_add_alias(struct tensor_file_builder *builder, const char *name, const char *kept);

/* Refuses a file without tensors, unless it is a part of a split file. Makes offsets absolute,
 * sorts the entries, and checks that every range is within the file, that no two ranges overlap and
 * that names are unique. */
int tensor_file_finish(struct tensor_file_builder *builder, uint64_t data_offset_bytes);
