/* Reads a definition from its JSON text, part by part (json_outline.h). This file has the keys of a
 * model, a layer and a tensor. layer_type has the types of layers, definition_value checks values,
 * and definition_builder computes offsets and sums. */
#include "common/definition/definition_parse.h"

#include "common/definition/definition_builder.h"
#include "common/definition/definition_pool.h"
#include "common/definition/definition_value.h"
#include "common/definition/layer_type.h"
#include "common/json_outline.h"
#include "common/json_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct model_keys {
    const char *name, *weights;
    dtype dtype;
    json_t *layers;
};

struct layer_keys {
    const char *name, *type, *activation;
    dtype dtype;
};

struct tensor_keys {
    const char *name;
    dtype dtype;
    struct value_shape shape;
};

/* Messages name a layer MODEL/LAYER, so a model's name must not have a '/'. A layer's name may. */
static int value_model_name(json_t *value, const struct place *place, void *ret,
                            struct definition_problem *problem)
{
    int r = value_name(value, place, ret, problem);
    if (r == 0 && strchr(json_string_value(value), '/'))
        return definition_refuse(problem, place, "must not contain '/'");
    return r;
}

static int value_weights(json_t *value, const struct place *place, void *ret,
                         struct definition_problem *problem)
{
    int r = value_string(value, place, ret, problem);
    if (r < 0)
        return r;
    const char *path = json_string_value(value);
    if (path[0] == '\0' || json_string_length(value) >= PATH_MAX)
        return definition_refuse(problem, place, "must have 1 to %d bytes", PATH_MAX - 1);
    if (!definition_path_valid(path))
        return definition_refuse(problem, place, "must be a relative path without \"..\"");
    return 0;
}

static const struct value_key model_keys[] = {
    {"name", value_model_name, offsetof(struct model_keys, name), true},
    {"dtype", value_dtype, offsetof(struct model_keys, dtype), false},
    {"layers", value_array, offsetof(struct model_keys, layers), true},
    {"weights", value_weights, offsetof(struct model_keys, weights), false},
    {.name = NULL},
};

static const struct value_key layer_keys[] = {
    {"name", value_name, offsetof(struct layer_keys, name), false},
    {"type", value_string, offsetof(struct layer_keys, type), false},
    {"dtype", value_dtype, offsetof(struct layer_keys, dtype), false},
    {"activation", value_string, offsetof(struct layer_keys, activation), false},
    {.name = NULL},
};

static const struct value_key tensor_keys[] = {
    {"name", value_name, offsetof(struct tensor_keys, name), true},
    {"dtype", value_dtype, offsetof(struct tensor_keys, dtype), false},
    {"shape", value_shape, offsetof(struct tensor_keys, shape), true},
    {.name = NULL},
};

/* Prefixes the tensors of a typed layer with the layer's name, as a state_dict does. */
struct type_sink {
    struct tensor_sink sink; /* first */
    struct definition_builder *builder;
    const struct layer_keys *keys;
};

static int add_type_tensor(struct tensor_sink *sink, const char *name, const uint64_t *shape,
                           unsigned n_dims)
{
    struct type_sink *self = (struct type_sink *)sink;
    char full[DEFINITION_NAME_MAX + 1];

    int n = snprintf(full, sizeof full, "%s.%s", self->keys->name, name);
    if (n < 0 || (size_t)n >= sizeof full) {
        struct place here = {.parent = sink->layer, .key = "name"};
        return definition_refuse(sink->problem, &here,
                                 "leaves no room for its tensors' names, which have at most %d "
                                 "bytes",
                                 DEFINITION_NAME_MAX);
    }
    return definition_builder_tensor(self->builder, full, self->keys->dtype, shape, n_dims,
                                     sink->layer);
}

/* What is read of the text at a time: a model without its layers, a layer without its tensors, or a
 * tensor. No well-formed one comes near these limits. */
static const struct json_limits part_limits = {
    .max_bytes = 1 << 20,
    .max_depth = DEFINITION_DEPTH_MAX,
    .max_values = 1000,
    .max_string_bytes = DEFINITION_STRING_BYTES_MAX,
};

static int refuse_syntax(int r, const struct json_problem *syntax,
                         struct definition_problem *problem)
{
    if (r == -ENOMEM)
        return r;
    *problem = (struct definition_problem){.line = syntax->line, .column = syntax->column};
    snprintf(problem->message, sizeof problem->message, "%s", syntax->message);
    return -EBADMSG;
}

/* The next element, which must be an object. Returns as json_next_element, or -ENOMEM. */
static int next_object(struct definition_builder *builder, struct json_elements *elements,
                       const struct place *place, struct json_part *ret)
{
    struct json_problem syntax;
    int r = json_next_element(elements, ret, &syntax);

    if (r < 0)
        return refuse_syntax(r, &syntax, builder->problem);
    return r == 0 || json_part_is_object(ret)
               ? r
               : definition_refuse(builder->problem, place, "must be an object");
}

static int parse_tensor(struct definition_builder *builder, const struct json_part *part,
                        const struct place *place, dtype type)
{
    struct place shape = {.parent = place, .key = "shape"};
    struct tensor_keys keys = {.dtype = type};
    struct value_table table = {tensor_keys, &keys};
    struct json_problem syntax;
    json_t *json;

    int r = json_parse_part(part, &part_limits, &json, &syntax);
    if (r < 0)
        return refuse_syntax(r, &syntax, builder->problem);
    r = value_object(json, place, &table, 1, builder->problem);
    if (r == 0)
        r = definition_builder_tensor(builder, keys.name, keys.dtype, keys.shape.sizes,
                                      keys.shape.n_dims, &shape);
    json_decref(json);
    return r;
}

static int parse_tensors(struct definition_builder *builder, struct json_elements *elements,
                         dtype type)
{
    struct place place = {.parent = builder->place, .key = "tensors"};
    struct place here = {.parent = &place};
    struct json_part part;
    int r;

    for (; (r = next_object(builder, elements, &here, &part)) > 0; here.index++)
        if ((r = parse_tensor(builder, &part, &here, type)) < 0)
            return r;
    if (r == 0 && builder->n_tensors == 0)
        r = definition_refuse(builder->problem, &place, "must not be empty");
    return r;
}

/* A layer has exactly one of these keys, which decides its kind. */
enum layer_kind { KIND_TYPE, KIND_BYTES, KIND_TENSORS, KIND_NONE };
static const char *const kind_keys[] = {"type", "bytes", "tensors"};

static int find_kind(json_t *json, const struct place *place, enum layer_kind *ret,
                     struct definition_problem *problem)
{
    *ret = KIND_NONE;
    if (!json_is_object(json))
        return definition_refuse(problem, place, "must be an object");
    for (enum layer_kind kind = KIND_TYPE; kind < KIND_NONE; kind++) {
        struct place here = {.parent = place, .key = kind_keys[kind]};
        if (!json_object_get(json, kind_keys[kind]))
            continue;
        if (*ret != KIND_NONE)
            return definition_refuse(problem, &here, "cannot stand beside \"%s\"", kind_keys[*ret]);
        *ret = kind;
    }
    if (*ret == KIND_NONE)
        return definition_refuse(problem, place, "needs one of \"type\", \"bytes\", \"tensors\"");
    return 0;
}

static int find_type(json_t *json, const struct place *place, const struct layer_type **ret,
                     struct definition_problem *problem)
{
    struct place here = {.parent = place, .key = "type"};
    const char *name = json_string_value(json_object_get(json, "type"));

    *ret = name ? layer_type_find(name) : NULL;
    return *ret ? 0 : definition_refuse(problem, &here, "must be one of " LAYER_TYPE_NAMES);
}

/* `elements` are the layer's tensors, of which `json` has none. */
static int read_layer(struct definition_builder *builder, json_t *json,
                      struct json_elements *elements, const struct place *place, dtype type)
{
    static const struct value_key bytes_keys[] = {{"bytes", value_size, 0, true}, {.name = NULL}};
    static const struct value_key tensors_keys[] = {{"tensors", value_array, 0, true},
                                                    {.name = NULL}};
    struct layer_keys keys = {.dtype = type};
    const struct layer_type *layer_type = NULL;
    union layer_parameters parameters;
    uint64_t bytes = 0;
    json_t *tensors = NULL;
    struct value_table tables[2] = {{layer_keys, &keys}};
    enum layer_kind kind;
    char default_name[sizeof "layer_18446744073709551615"];

    int r = find_kind(json, place, &kind, builder->problem);
    if (r < 0)
        return r;
    if (kind == KIND_TYPE) {
        r = find_type(json, place, &layer_type, builder->problem);
        if (r < 0)
            return r;
        parameters = layer_type->defaults;
        tables[1] = (struct value_table){layer_type->keys, &parameters};
    } else if (kind == KIND_BYTES) {
        tables[1] = (struct value_table){bytes_keys, &bytes};
    } else {
        tables[1] = (struct value_table){tensors_keys, &tensors};
    }
    r = value_object(json, place, tables, 2, builder->problem);
    if (r < 0)
        return r;
    if (!keys.name) {
        snprintf(default_name, sizeof default_name, "layer_%zu", place->index);
        keys.name = default_name;
    }

    r = definition_builder_begin_layer(builder, keys.name, place);
    if (r < 0)
        return r;
    if (kind == KIND_TYPE) {
        struct type_sink sink = {{add_type_tensor, place, builder->problem}, builder, &keys};
        r = layer_type->tensors(&parameters, &sink.sink);
    } else if (kind == KIND_BYTES) {
        definition_builder_size(builder, bytes);
    } else {
        r = parse_tensors(builder, elements, keys.dtype);
    }
    return r < 0 ? r : definition_builder_end_layer(builder);
}

static int parse_layer(struct definition_builder *builder, const struct json_part *part,
                       const struct place *place, dtype type)
{
    struct json_elements elements;
    struct json_problem syntax;
    json_t *json;

    int r = json_parse_outline(part, "tensors", &part_limits, &json, &elements, &syntax);
    if (r < 0)
        return refuse_syntax(r, &syntax, builder->problem);
    r = read_layer(builder, json, &elements, place, type);
    json_decref(json);
    return r;
}

static int parse_layers(struct definition_builder *builder, struct json_elements *elements,
                        dtype type)
{
    const struct place place = {.key = "layers"};
    struct place here = {.parent = &place};
    struct json_part part;
    int r;

    for (; (r = next_object(builder, elements, &here, &part)) > 0; here.index++)
        if ((r = parse_layer(builder, &part, &here, type)) < 0)
            return r;
    return r;
}

/* `elements` are the model's layers, of which `json` has none. */
static int read_model(struct definition_builder *builder, json_t *json,
                      struct json_elements *elements)
{
    const struct place place = {.key = "layers"};
    struct model_keys keys = {.name = NULL};
    struct value_table table = {model_keys, &keys};

    int r = dtype_parse("f32", &keys.dtype);
    if (r == 0)
        r = value_object(json, NULL, &table, 1, builder->problem);
    if (r < 0)
        return r;
    size_t n = json_count_elements(elements);
    if (n == 0 || n > DEFINITION_LAYERS_MAX)
        return definition_refuse(builder->problem, &place, "must have 1 to %d elements",
                                 DEFINITION_LAYERS_MAX);
    r = definition_builder_begin(builder, keys.name, keys.weights, (uint32_t)n);
    return r < 0 ? r : parse_layers(builder, elements, keys.dtype);
}

/* A text that does not begin as a definition: often it is a file of another kind. */
static int check_beginning(const char *text, size_t n_bytes, struct json_problem *problem)
{
    size_t offset = 0, begin = json_next_token(text, n_bytes, &offset);

    if (begin == n_bytes || text[begin] == '{' || text[begin] == '[')
        return 0;
    json_set_problem(problem, text, begin,
                     "an object is expected: this is neither a model definition, nor a safetensors "
                     "or GGUF file");
    return -EBADMSG;
}

int definition_parse(const char *text, size_t n_bytes, struct definition **ret,
                     struct definition_problem *ret_problem)
{
    static const struct json_limits limits = {
        .max_bytes = DEFINITION_BYTES_MAX,
        .max_depth = DEFINITION_DEPTH_MAX,
        .max_values = DEFINITION_VALUES_MAX,
        .max_string_bytes = DEFINITION_STRING_BYTES_MAX,
    };
    struct definition_builder builder;
    struct json_elements elements;
    struct json_problem syntax;
    size_t token_bytes;
    json_t *json;

    int r = check_beginning(text, n_bytes, &syntax);
    if (r == 0)
        r = json_scan(text, n_bytes, &limits, &token_bytes, &syntax);
    struct json_part whole = r == 0 ? json_whole(text, n_bytes) : (struct json_part){0};
    if (r == 0)
        r = json_parse_outline(&whole, "layers", &part_limits, &json, &elements, &syntax);
    if (r < 0)
        return refuse_syntax(r, &syntax, ret_problem);
    r = definition_builder_init(&builder, ret_problem);
    if (r == 0)
        r = read_model(&builder, json, &elements);
    if (r == 0)
        r = definition_builder_end(&builder, ret);
    definition_builder_done(&builder);
    json_decref(json);
    return r;
}
