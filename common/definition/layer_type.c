/* One section for each layer type: its parameters, then its tensors. The table of types is at the
 * end. Source of names and shapes: the PyTorch reference, torch.nn. */
#include "common/definition/layer_type.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CHECKED(key, reader)                                 \
    {                                                        \
        .name = key, .read = reader, .offset = VALUE_CHECKED \
    }
#define OPTIONAL(type, key, reader)                                                        \
    {                                                                                      \
        .name = #key, .read = reader, .offset = offsetof(union layer_parameters, type.key) \
    }
#define REQUIRED(type, key, reader)                                                         \
    {                                                                                       \
        .name = #key, .read = reader, .offset = offsetof(union layer_parameters, type.key), \
        .required = true                                                                    \
    }
#define END          \
    {                \
        .name = NULL \
    }

#define ADD(sink, name, ...)                                 \
    (sink)->add(sink, name, (const uint64_t[]){__VA_ARGS__}, \
                sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static int refuse_parameter(struct tensor_sink *sink, const char *key, const char *message)
{
    struct place here = {.parent = sink->layer, .key = key};
    return definition_refuse(sink->problem, &here, "%s", message);
}

static const struct value_key linear_keys[] = {
    REQUIRED(linear, in_features, value_size),
    REQUIRED(linear, out_features, value_size),
    OPTIONAL(linear, bias, value_bool),
    END,
};

static int linear_tensors(const union layer_parameters *parameters, struct tensor_sink *sink)
{
    __typeof__(&parameters->linear) p = &parameters->linear;

    int r = ADD(sink, "weight", p->out_features, p->in_features);
    if (r == 0 && p->bias)
        r = ADD(sink, "bias", p->out_features);
    return r;
}

/* uint64_t[2]: [height, width], or one number for both. `read` reads each number. */
static int read_pair(json_t *value, const struct place *place, uint64_t pair[2], value_reader *read,
                     struct definition_problem *problem)
{
    if (json_is_integer(value)) {
        int r = read(value, place, &pair[0], problem);
        if (r == 0)
            pair[1] = pair[0];
        return r;
    }
    if (!json_is_array(value) || json_array_size(value) != 2)
        return definition_refuse(problem, place, "must be an integer or an array of two");
    for (size_t i = 0; i < 2; i++) {
        struct place here = {.parent = place, .index = i};
        int r = read(json_array_get(value, i), &here, &pair[i], problem);
        if (r < 0)
            return r;
    }
    return 0;
}

static int value_size_pair(json_t *value, const struct place *place, void *ret,
                           struct definition_problem *problem)
{
    return read_pair(value, place, ret, value_size, problem);
}

static int value_padding(json_t *value, const struct place *place, void *ret,
                         struct definition_problem *problem)
{
    if (!json_is_string(value))
        return read_pair(value, place, ret, value_count, problem);
    const char *word = json_string_value(value);
    if (strcmp(word, "same") != 0 && strcmp(word, "valid") != 0)
        return definition_refuse(problem, place,
                                 "must be an integer, an array of two, \"same\" or \"valid\"");
    return 0;
}

static int value_padding_mode(json_t *value, const struct place *place, void *ret,
                              struct definition_problem *problem)
{
    static const char *const modes[] = {"zeros", "reflect", "replicate", "circular"};

    (void)ret;
    for (size_t i = 0; json_is_string(value) && i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(json_string_value(value), modes[i]) == 0)
            return 0;
    return definition_refuse(problem, place,
                             "must be \"zeros\", \"reflect\", \"replicate\" or \"circular\"");
}

static const struct value_key conv2d_keys[] = {
    REQUIRED(conv2d, in_channels, value_size),
    REQUIRED(conv2d, out_channels, value_size),
    REQUIRED(conv2d, kernel_size, value_size_pair),
    CHECKED("stride", value_size_pair),
    CHECKED("padding", value_padding),
    CHECKED("dilation", value_size_pair),
    OPTIONAL(conv2d, groups, value_size),
    OPTIONAL(conv2d, bias, value_bool),
    CHECKED("padding_mode", value_padding_mode),
    END,
};

static int conv2d_tensors(const union layer_parameters *parameters, struct tensor_sink *sink)
{
    __typeof__(&parameters->conv2d) p = &parameters->conv2d;

    if (p->in_channels % p->groups != 0)
        return refuse_parameter(sink, "groups", "must divide in_channels");
    if (p->out_channels % p->groups != 0)
        return refuse_parameter(sink, "groups", "must divide out_channels");
    int r = ADD(sink, "weight", p->out_channels, p->in_channels / p->groups, p->kernel_size[0],
                p->kernel_size[1]);
    if (r == 0 && p->bias)
        r = ADD(sink, "bias", p->out_channels);
    return r;
}

static int value_integer_or_null(json_t *value, const struct place *place, void *ret,
                                 struct definition_problem *problem)
{
    (void)ret;
    if (!json_is_integer(value) && !json_is_null(value))
        return definition_refuse(problem, place, "must be an integer or null");
    return 0;
}

static int value_number_or_null(json_t *value, const struct place *place, void *ret,
                                struct definition_problem *problem)
{
    (void)ret;
    if (!json_is_number(value) && !json_is_null(value))
        return definition_refuse(problem, place, "must be a number or null");
    return 0;
}

static const struct value_key embedding_keys[] = {
    REQUIRED(embedding, num_embeddings, value_size),
    REQUIRED(embedding, embedding_dim, value_size),
    CHECKED("padding_idx", value_integer_or_null), /* negative: from the end */
    CHECKED("max_norm", value_number_or_null),
    CHECKED("norm_type", value_number),
    CHECKED("scale_grad_by_freq", value_bool),
    CHECKED("sparse", value_bool),
    END,
};

static int embedding_tensors(const union layer_parameters *parameters, struct tensor_sink *sink)
{
    return ADD(sink, "weight", parameters->embedding.num_embeddings,
               parameters->embedding.embedding_dim);
}

/* struct value_shape: an array of sizes, or one number. */
static int value_normalized_shape(json_t *value, const struct place *place, void *ret,
                                  struct definition_problem *problem)
{
    struct value_shape *shape = ret;

    if (json_is_array(value) && json_array_size(value) > 0)
        return value_shape(value, place, shape, problem);
    if (!json_is_integer(value))
        return definition_refuse(problem, place, "must be an integer or an array of integers");
    shape->n_dims = 1;
    return value_size(value, place, &shape->sizes[0], problem);
}

static const struct value_key layer_norm_keys[] = {
    REQUIRED(layer_norm, normalized_shape, value_normalized_shape),
    CHECKED("eps", value_number),
    OPTIONAL(layer_norm, elementwise_affine, value_bool),
    OPTIONAL(layer_norm, bias, value_bool),
    END,
};

static int layer_norm_tensors(const union layer_parameters *parameters, struct tensor_sink *sink)
{
    __typeof__(&parameters->layer_norm) p = &parameters->layer_norm;

    if (!p->elementwise_affine)
        return refuse_parameter(sink, "elementwise_affine", "a layer must have weights");
    int r = sink->add(sink, "weight", p->normalized_shape.sizes, p->normalized_shape.n_dims);
    if (r == 0 && p->bias)
        r = sink->add(sink, "bias", p->normalized_shape.sizes, p->normalized_shape.n_dims);
    return r;
}

static int value_probability(json_t *value, const struct place *place, void *ret,
                             struct definition_problem *problem)
{
    double *probability = ret;

    if (value_number(value, place, probability, problem) < 0 || *probability < 0 ||
        *probability > 1)
        return definition_refuse(problem, place, "must be a number from 0 to 1");
    return 0;
}

static const struct value_key lstm_keys[] = {
    REQUIRED(lstm, input_size, value_size),
    REQUIRED(lstm, hidden_size, value_size),
    OPTIONAL(lstm, num_layers, value_size),
    OPTIONAL(lstm, bias, value_bool),
    CHECKED("batch_first", value_bool),
    CHECKED("dropout", value_probability),
    OPTIONAL(lstm, bidirectional, value_bool),
    OPTIONAL(lstm, proj_size, value_count),
    END,
};

/* The tensors of one of the stacked layers, in one direction. `gates` is 4 * hidden_size. */
static int lstm_cell(const union layer_parameters *parameters, struct tensor_sink *sink,
                     uint64_t layer, const char *direction, uint64_t gates, uint64_t input)
{
    __typeof__(&parameters->lstm) p = &parameters->lstm;
    const struct {
        const char *name;
        bool present;
        unsigned n_dims;
        uint64_t shape[2];
    } tensors[] = {
        {"weight_ih", true, 2, {gates, input}},
        {"weight_hh", true, 2, {gates, p->proj_size ? p->proj_size : p->hidden_size}},
        {"bias_ih", p->bias, 1, {gates}},
        {"bias_hh", p->bias, 1, {gates}},
        {"weight_hr", p->proj_size > 0, 2, {p->proj_size, p->hidden_size}},
    };

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[64];
        if (!tensors[i].present)
            continue;
        snprintf(name, sizeof name, "%s_l%" PRIu64 "%s", tensors[i].name, layer, direction);
        int r = sink->add(sink, name, tensors[i].shape, tensors[i].n_dims);
        if (r < 0)
            return r;
    }
    return 0;
}

static int lstm_tensors(const union layer_parameters *parameters, struct tensor_sink *sink)
{
    __typeof__(&parameters->lstm) p = &parameters->lstm;
    uint64_t gates, output;

    if (p->proj_size >= p->hidden_size)
        return refuse_parameter(sink, "proj_size", "must be smaller than hidden_size");
    if (__builtin_mul_overflow(p->hidden_size, 4, &gates))
        return refuse_parameter(sink, "hidden_size", "is too large");
    /* Cannot overflow: less than `gates`. */
    output = (p->proj_size ? p->proj_size : p->hidden_size) * (p->bidirectional ? 2 : 1);

    for (uint64_t layer = 0; layer < p->num_layers; layer++) {
        uint64_t input = layer == 0 ? p->input_size : output;
        int r = lstm_cell(parameters, sink, layer, "", gates, input);
        if (r == 0 && p->bidirectional)
            r = lstm_cell(parameters, sink, layer, "_reverse", gates, input);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct layer_type types[] = {
    {"linear", linear_keys, {.linear = {.bias = true}}, linear_tensors},
    {"conv2d", conv2d_keys, {.conv2d = {.groups = 1, .bias = true}}, conv2d_tensors},
    {"embedding", embedding_keys, {.embedding = {0}}, embedding_tensors},
    {"layer_norm",
     layer_norm_keys,
     {.layer_norm = {.elementwise_affine = true, .bias = true}},
     layer_norm_tensors},
    {"lstm", lstm_keys, {.lstm = {.num_layers = 1, .bias = true}}, lstm_tensors},
};

const struct layer_type *layer_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}
