/* The builder. Everything that the definition keeps goes to its pool. A layer's tensors are first
 * collected in an array, because their number is unknown when the layer begins. */
#include "common/definition/definition_builder.h"

#include "common/definition/definition_pool.h"
#include "common/memory_budget.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* In both arrays, for each tensor of the present layer. */
static const uint64_t ROOM_BYTES = sizeof(struct tensor) + sizeof(uint32_t);

int definition_builder_init(struct definition_builder *builder, struct definition_problem *problem)
{
    *builder = (struct definition_builder){.problem = problem};
    builder->definition = calloc(1, sizeof *builder->definition);
    if (!builder->definition)
        return -ENOMEM;
    builder->definition->n_refs = 1;
    builder->definition->pool = definition_pool_new();
    return builder->definition->pool ? 0 : -ENOMEM;
}

void definition_builder_done(struct definition_builder *builder)
{
    definition_unref(builder->definition);
    memory_budget_give(builder->n_allocated * ROOM_BYTES);
    free(builder->tensors);
    free(builder->order);
}

static char *copy_string(struct definition_builder *builder, const char *text)
{
    size_t n = strlen(text);
    char *copy = definition_pool_string(builder->definition->pool, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

int definition_builder_begin(struct definition_builder *builder, const char *name,
                             const char *weights, uint32_t n_layers)
{
    struct definition *definition = builder->definition;

    definition->name = copy_string(builder, name);
    definition->layers =
        definition_pool_alloc(definition->pool, n_layers * sizeof *definition->layers);
    definition->by_name =
        definition_pool_alloc(definition->pool, n_layers * sizeof *definition->by_name);
    if (!definition->name || !definition->layers || !definition->by_name)
        return -ENOMEM;
    if (weights) {
        definition->weights = copy_string(builder, weights);
        if (!definition->weights)
            return -ENOMEM;
    }
    builder->n_layers_max = n_layers;
    return 0;
}

int definition_builder_begin_layer(struct definition_builder *builder, const char *name,
                                   const struct place *place)
{
    builder->place = place;
    builder->bytes = 0;
    builder->n_tensors = 0;
    builder->name = copy_string(builder, name);
    return builder->name ? 0 : -ENOMEM;
}

void definition_builder_size(struct definition_builder *builder, uint64_t bytes)
{
    builder->bytes = bytes;
}

static int make_room(struct definition_builder *builder)
{
    if (builder->n_tensors < builder->n_allocated)
        return 0;
    uint32_t n = builder->n_allocated ? builder->n_allocated * 2 : 16;
    if (!memory_budget_take(n * ROOM_BYTES))
        return -ENOMEM;
    struct tensor *tensors = reallocarray(builder->tensors, n, sizeof *tensors);
    if (!tensors)
        return -ENOMEM;
    builder->tensors = tensors;
    uint32_t *order = reallocarray(builder->order, n, sizeof *order);
    if (!order)
        return -ENOMEM;
    builder->order = order;
    memory_budget_give(builder->n_allocated * ROOM_BYTES);
    builder->n_allocated = n;
    return 0;
}

static int tensor_bytes(dtype type, const uint64_t *shape, unsigned n_dims, uint64_t *ret_elements,
                        uint64_t *ret_bytes)
{
    uint64_t n_elements = 1;

    for (unsigned i = 0; i < n_dims; i++)
        if (__builtin_mul_overflow(n_elements, shape[i], &n_elements))
            return -EOVERFLOW;
    *ret_elements = n_elements;
    return dtype_bytes(type, n_elements, ret_bytes);
}

int definition_builder_tensor(struct definition_builder *builder, const char *name, dtype type,
                              const uint64_t *shape, unsigned n_dims, const struct place *place)
{
    uint64_t n_elements, bytes, end;

    if (builder->n_tensors_total == DEFINITION_TENSORS_MAX)
        return definition_refuse(builder->problem, place, "the model has more than %d tensors",
                                 DEFINITION_TENSORS_MAX);
    int r = tensor_bytes(type, shape, n_dims, &n_elements, &bytes);
    if (r == -EINVAL)
        return definition_refuse(builder->problem, place,
                                 "%" PRIu64 " elements of %s do not fill whole bytes", n_elements,
                                 dtype_name(type));
    if (r < 0)
        return definition_refuse(builder->problem, place,
                                 "the tensor has more than 2^64 - 1 bytes");
    if (__builtin_add_overflow(builder->bytes, bytes, &end))
        return definition_refuse(builder->problem, builder->place,
                                 "the layer has more than 2^64 - 1 bytes");

    uint64_t *sizes = definition_pool_alloc(builder->definition->pool, n_dims * sizeof *sizes);
    char *copy = copy_string(builder, name);
    if (!sizes || !copy || make_room(builder) < 0)
        return -ENOMEM;
    memcpy(sizes, shape, n_dims * sizeof *sizes);
    builder->tensors[builder->n_tensors++] = (struct tensor){
        .name = copy,
        .shape = sizes,
        .offset_bytes = builder->bytes,
        .bytes = bytes,
        .n_dims = (uint8_t)n_dims,
        .type = type,
    };
    builder->n_tensors_total++;
    builder->bytes = end;
    return 0;
}

/* An array of structs whose first member is their name. */
struct named {
    const char *base;
    size_t stride;
};

static const char *name_at(const struct named *named, uint32_t i)
{
    return *(const char *const *)(const void *)(named->base + i * named->stride);
}

static int compare_names(const void *a, const void *b, void *context)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int r = strcmp(name_at(context, i), name_at(context, j));
    return r ? r : (i > j) - (i < j);
}

/* Fills `order` with the indices of `n` elements, by name. Returns the smallest index whose name an
 * earlier element has, or `n`. */
static uint32_t order_by_name(struct named named, uint32_t n, uint32_t *order)
{
    uint32_t duplicate = n;

    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, n, sizeof *order, compare_names, &named);
    for (uint32_t i = 1; i < n; i++)
        if (order[i] < duplicate &&
            strcmp(name_at(&named, order[i - 1]), name_at(&named, order[i])) == 0)
            duplicate = order[i];
    return duplicate;
}

int definition_builder_end_layer(struct definition_builder *builder)
{
    struct definition *definition = builder->definition;
    uint32_t n = builder->n_tensors;
    struct tensor *tensors = NULL;

    assert(builder->bytes > 0);
    assert(definition->n_layers < builder->n_layers_max);
    if (__builtin_add_overflow(definition->bytes, builder->bytes, &definition->bytes))
        return definition_refuse(builder->problem, builder->place,
                                 "the model has more than 2^64 - 1 bytes");
    if (n > 0) {
        struct named named = {(const char *)builder->tensors, sizeof *builder->tensors};
        uint32_t duplicate = order_by_name(named, n, builder->order);
        if (duplicate < n) {
            struct place array = {.parent = builder->place, .key = "tensors"};
            struct place element = {.parent = &array, .index = duplicate};
            struct place name = {.parent = &element, .key = "name"};
            return definition_refuse(builder->problem, &name,
                                     "an earlier tensor of the layer has this name");
        }
        tensors = definition_pool_alloc(definition->pool, n * sizeof *tensors);
        if (!tensors)
            return -ENOMEM;
        memcpy(tensors, builder->tensors, n * sizeof *tensors);
    }
    definition->layers[definition->n_layers++] = (struct layer_definition){
        .name = builder->name,
        .tensors = tensors,
        .n_tensors = n,
        .bytes = builder->bytes,
    };
    return 0;
}

int definition_builder_end(struct definition_builder *builder, struct definition **ret)
{
    struct definition *definition = builder->definition;
    struct named named = {(const char *)definition->layers, sizeof *definition->layers};

    assert(definition->n_layers == builder->n_layers_max);
    uint32_t duplicate = order_by_name(named, definition->n_layers, definition->by_name);
    if (duplicate < definition->n_layers) {
        struct place array = {.key = "layers"};
        struct place element = {.parent = &array, .index = duplicate};
        struct place name = {.parent = &element, .key = "name"};
        return definition_refuse(builder->problem, &name, "an earlier layer has this name");
    }
    *ret = TAKE_PTR(builder->definition);
    return 0;
}
