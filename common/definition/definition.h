/* A model's definition: its layers in execution order, each with its tensors or only its size.
 *
 * Any thread may make a definition. It is immutable afterwards and shared by references. Any thread
 * may take and release references. */
#pragma once

#include "common/cleanup.h"
#include "common/definition/dtype.h"
#include "common/definition/weight_file.h"
#include "common/page.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DEFINITION_BYTES_MAX = 16 << 20,
    DEFINITION_VALUES_MAX = 700000, /* as json.h counts them */
    DEFINITION_STRING_BYTES_MAX = 64 << 10,
    DEFINITION_DEPTH_MAX = 32,
    DEFINITION_LAYERS_MAX = 100000,
    DEFINITION_TENSORS_MAX = 250000, /* a short text can define many: num_layers of an lstm */
    DEFINITION_NAME_MAX = 255,       /* bytes of a model's, layer's or tensor's name */
    DEFINITION_RANK_MAX = 8
};

struct tensor {
    const char *name;
    const uint64_t *shape; /* n_dims numbers, outermost first, as the frameworks print them */
    uint64_t offset_bytes; /* in the layer; without weights there are no gaps between tensors */
    uint64_t bytes;
    uint8_t n_dims;
    dtype type;
};

/* Bytes of a layer that are consecutive in a weight file.
 *
 * A layer starts `shift_bytes` into its first page. Pieces are placed so that arena offset and file
 * offset agree modulo piece_align_bytes. No two pieces share a block of that size. So a direct read
 * of whole blocks needs no bounce buffer and overwrites no other piece. */
struct piece {
    uint64_t file_offset_bytes;
    uint64_t layer_offset_bytes; /* of its first byte, in the layer */
    uint64_t bytes;              /* > 0 */
    uint32_t source;             /* which weight file */
};

/* The system's page, because clients map whole pages of the arena in place of the file's. */
static inline uint64_t piece_align_bytes(void)
{
    return system_page_bytes();
}

struct layer_definition {
    const char *name;
    const struct tensor *tensors; /* NULL for a size-only layer */
    const struct piece *pieces;   /* by layer offset; NULL without weights: all bytes are zero */
    uint32_t n_tensors, n_pieces;
    uint32_t shift_bytes; /* < piece_align_bytes; 0 without weights */
    uint64_t bytes; /* > 0; from the first byte of the first tensor to the last byte of the last,
                       gaps between pieces included */
};

struct definition {
    atomic_uint n_refs;
    char *name;
    char *weights; /* path relative to the definition, or NULL: simulated, all bytes zero */
    struct layer_definition *layers;
    uint32_t n_layers;            /* > 0 */
    uint32_t *by_name;            /* indices into layers, ordered by name, which is unique */
    uint64_t bytes;               /* of all layers; does not overflow */
    struct definition_pool *pool; /* owns all names, shapes and tensors above */
    struct weight_file *files;    /* indexed by the pieces' `source`; owned, closed at the end */
    uint32_t n_files;
};

/* Why a definition was refused. A syntax error has line and column, and path is "". Any other error
 * has the path to the value, as "layers[3].in_features", and line and column are 0. */
struct definition_problem {
    unsigned line;
    unsigned column;
    char path[128];
    char message[256];
};

/* Whether a weight file may have this path: it must be relative, not empty, and without "..". */
bool definition_path_valid(const char *path);

struct definition *definition_ref(struct definition *definition);
struct definition *definition_unref(struct definition *definition); /* returns NULL */
DEFINE_CLEANUP(struct definition *, definition_unref);

/* Index of the layer with that name, or -ENOENT. O(log n). */
int64_t definition_find_layer(const struct definition *definition, const char *name);
