/* A model's definition: its layers in execution order, each with its tensors or just its size.
 *
 * Parsed from JSON (design section 9) on any thread; immutable afterwards and shared by reference.
 * The counter is not atomic: ref and unref belong to one thread at a time. */
#pragma once

#include "common/cleanup.h"
#include "common/dtype.h"

#include <stddef.h>
#include <stdint.h>

enum {
    DEFINITION_BYTES_MAX = 16 << 20,
    DEFINITION_VALUES_MAX = 500000, /* jansson then needs at most some 100 MiB while parsing */
    DEFINITION_DEPTH_MAX = 32,
    DEFINITION_LAYERS_MAX = 100000,
    DEFINITION_NAME_MAX = 255, /* bytes of a model's, layer's or tensor's name */
    DEFINITION_RANK_MAX = 8
};

struct tensor {
    const char *name;
    const uint64_t *shape; /* n_dims numbers, outermost first, as the frameworks print them */
    uint64_t offset_bytes; /* in the layer; tensors follow each other without padding */
    uint64_t bytes;
    uint8_t n_dims;
    dtype type;
};

struct layer_definition {
    const char *name;
    const struct tensor *tensors; /* NULL for a size-only layer */
    uint32_t n_tensors;
    uint64_t bytes; /* > 0 */
};

struct definition {
    unsigned n_refs;
    char *name;
    char *weights; /* path relative to the definition, or NULL: simulated, all bytes zero */
    struct layer_definition *layers;
    uint32_t n_layers;  /* > 0 */
    uint32_t *by_name;  /* indices into layers, ordered by name, which is unique */
    uint64_t bytes;     /* of all layers; does not overflow */
    struct definition_pool *pool; /* owns every name, shape and tensor above */
};

/* Why a definition was refused: line and column for a syntax error (path is then ""), else the path
 * to the value, as "layers[3].in_features" (line and column are then 0). */
struct definition_problem {
    unsigned line;
    unsigned column;
    char path[128];
    char message[256];
};

/* 0 and a new reference; -EBADMSG with `ret_problem` set; -ENOMEM. */
int definition_parse(const char *text, size_t n_bytes, struct definition **ret,
                     struct definition_problem *ret_problem);

struct definition *definition_ref(struct definition *definition);
struct definition *definition_unref(struct definition *definition); /* returns NULL */
DEFINE_CLEANUP(struct definition *, definition_unref);

/* Index of the layer with that name, or -ENOENT. O(log n). */
int64_t definition_find_layer(const struct definition *definition, const char *name);
