/* The index of sharded safetensors (model.safetensors.index.json): which file has which tensor.
 * Source: https://huggingface.co/docs/safetensors, "sharded" models of the transformers library. */
#pragma once

#include "common/definition/definition.h"

#include <jansson.h>

#include <stdbool.h>

enum { SHARD_INDEX_FILES_MAX = 240 }; /* less than the descriptors of one message */

struct shard_index {
    json_t *root;        /* owns the strings */
    json_t *weight_map;  /* borrowed: tensor name to file name */
    const char **files;  /* distinct, in order of first appearance */
    uint32_t n_files;    /* > 0 */
    uint64_t tree_bytes; /* of `root` */
};

/* Whether a JSON text is an index rather than a definition: it has a "weight_map". 1, 0 or
 * -ENOMEM. */
int shard_index_detect(const char *text, size_t n_bytes);

/* 0; -EBADMSG with a problem; -ENOMEM. */
int shard_index_parse(const char *text, size_t n_bytes, struct shard_index *ret,
                      struct definition_problem *ret_problem);
void shard_index_done(struct shard_index *index);
