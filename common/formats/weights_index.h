/* The index of all tensors of a model's files, by name. Private to weights*.c. */
#pragma once

#include "common/formats/tensor_file.h"

struct weights_tensor {
    const struct tensor_entry *entry;
    const struct tensor_file *file;
    uint32_t source;   /* index of the file */
    uint32_t position; /* among all tensors, in the order of the files and of their bytes */
    int32_t unit;      /* of its layer: the expert or the chunk that it is a part of; -1: none */
};

struct weights_alias {
    const char *name;
    const struct weights_tensor *tensor;
};

struct weights_index {
    struct weights_tensor *tensors; /* owned */
    struct weights_alias *aliases;  /* the valid aliases; owned */
    uint32_t n_tensors, n_aliases;
    struct tensor_entry *entries; /* if the tensors are slices, see weights_slice.h; owned */
    struct definition_pool *pool; /* ... and their names and shapes */
};

/* Refuses more than DEFINITION_TENSORS_MAX, a name that is in two files, and an alias of two
 * tensors. 0; -EBADMSG; -ENOMEM. The index borrows the files. */
int weights_index_init(struct weights_index *index, struct tensor_file *const *files,
                       uint32_t n_files, struct definition_problem *problem);
void weights_index_done(struct weights_index *index);

/* Puts these tensors, which it takes unless it fails, in place of all. Each alias must have its
 * tensor among them. 0 or -EBADMSG. */
int weights_index_replace(struct weights_index *index, struct weights_tensor *tensors,
                          uint32_t n_tensors, struct definition_problem *problem);

/* Finds a tensor by name or alias. NULL if there is none. O(log n). */
const struct weights_tensor *weights_index_find(const struct weights_index *index,
                                                const char *name);

/* As weights_bind, but with an index. */
int weights_bind_index(struct definition *definition, const struct weights_index *index,
                       struct definition_problem *problem);
