/* The layer types of a definition: their parameters, and the tensors that follow from these.
 *
 * Parameters, their defaults and the tensors' names, order and shapes are those of the PyTorch
 * module of the same name (torch.nn.Linear, Conv2d, Embedding, LayerNorm, LSTM) and its state_dict.
 * Parameters that do not change a size are checked but not kept. */
#pragma once

#include "common/definition/definition_value.h"

union layer_parameters {
    struct {
        uint64_t in_features, out_features;
        bool bias;
    } linear;
    struct {
        uint64_t in_channels, out_channels, groups;
        uint64_t kernel_size[2];
        bool bias;
    } conv2d;
    struct {
        uint64_t num_embeddings, embedding_dim;
    } embedding;
    struct {
        struct value_shape normalized_shape;
        bool elementwise_affine, bias;
    } layer_norm;
    struct {
        uint64_t input_size, hidden_size, num_layers, proj_size;
        bool bias, bidirectional;
    } lstm;
};

/* Receives a layer's tensors in order. `name` and `shape` are valid during the call only. */
struct tensor_sink {
    int (*add)(struct tensor_sink *sink, const char *name, const uint64_t *shape, unsigned n_dims);
    const struct place *layer;
    struct definition_problem *problem;
};

struct layer_type {
    const char *name;
    const struct value_key *keys; /* into union layer_parameters */
    union layer_parameters defaults;
    /* Checks conditions on several parameters, and adds the tensors. 0, -EBADMSG with the sink's
     * problem set, or an error of `add`. */
    int (*tensors)(const union layer_parameters *parameters, struct tensor_sink *sink);
};

/* NULL if there is none of that name. */
const struct layer_type *layer_type_find(const char *name);

/* A list of all names, for messages. */
#define LAYER_TYPE_NAMES "linear, conv2d, embedding, layer_norm, lstm"
