/* Invariant: every tensor is within one part of the layer. If its type is known, its size agrees
 * with its shape. */
#include "client/library/mapped_layer.h"

#include "common/cleanup.h"
#include "common/definition/dtype.h"
#include "common/json.h"

#include <errno.h>
#include <string.h>

void mapped_layer_done(struct mapped_layer *mapped)
{
    for (size_t i = 0; i < mapped->n_parts; i++)
        arena_range_done(&mapped->parts[i].range);
    free(mapped->parts);
    free(mapped->tensors);
    free(mapped->shapes);
    json_decref(mapped->lease);
    json_decref(mapped->reply);
    *mapped = (struct mapped_layer){0};
}

/* Reads two sizes. */
static bool parse_sizes(const json_t *object, const char *key_a, uint64_t *ret_a, const char *key_b,
                        uint64_t *ret_b)
{
    const json_t *a = json_object_get(object, key_a), *b = json_object_get(object, key_b);

    if (!json_is_integer(a) || json_integer_value(a) < 0 || !json_is_integer(b) ||
        json_integer_value(b) < 0)
        return false;
    *ret_a = (uint64_t)json_integer_value(a);
    *ret_b = (uint64_t)json_integer_value(b);
    return true;
}

/* Segments that are adjacent in the arena become one. */
static int parse_segments(const json_t *array, uint64_t layer_bytes,
                          struct arena_segment **ret_segments, size_t *ret_n_segments)
{
    _cleanup_(freep) struct arena_segment *segments =
        calloc(json_array_size(array) + 1, sizeof *segments);
    uint64_t sum_bytes = 0, end_bytes = 0;
    size_t i, n_segments = 0;
    json_t *object;

    if (!segments)
        return -ENOMEM;
    json_array_foreach (array, i, object) {
        struct arena_segment segment;
        if (!parse_sizes(object, "offset", &segment.offset_bytes, "length", &segment.n_bytes) ||
            segment.n_bytes == 0 || __builtin_add_overflow(sum_bytes, segment.n_bytes, &sum_bytes))
            return -EBADMSG;
        if (n_segments > 0 && segment.offset_bytes == end_bytes)
            segments[n_segments - 1].n_bytes += segment.n_bytes; /* a part of the sum */
        else
            segments[n_segments++] = segment;
        if (__builtin_add_overflow(segment.offset_bytes, segment.n_bytes, &end_bytes))
            return -EBADMSG;
    }
    if (n_segments == 0 || sum_bytes != layer_bytes)
        return -EBADMSG;
    *ret_segments = TAKE_PTR(segments);
    *ret_n_segments = n_segments;
    return 0;
}

/* Whether the elements take `n_bytes`. True for an unknown type, which a newer daemon may have. */
static bool fits(const struct edgemind_tensor *tensor)
{
    uint64_t n_elements = 1, n_bytes;
    bool none = false, too_many = false;
    dtype type;

    if (dtype_parse(tensor->dtype, &type) < 0)
        return true;
    for (size_t i = 0; i < tensor->n_dimensions; i++) {
        none |= tensor->shape[i] == 0;
        too_many |= __builtin_mul_overflow(n_elements, tensor->shape[i], &n_elements);
    }
    if (none)
        return tensor->bytes == 0;
    return !too_many && dtype_bytes(type, n_elements, &n_bytes) == 0 && n_bytes == tensor->bytes;
}

/* NULL if the bytes are not within one part. */
static const unsigned char *find_bytes(const struct mapped_layer *mapped, uint64_t offset_bytes,
                                       uint64_t n_bytes)
{
    for (size_t i = 0; i < mapped->n_parts; i++) {
        const struct mapped_part *part = &mapped->parts[i];
        uint64_t skip_bytes = offset_bytes - part->begin_bytes;
        if (offset_bytes >= part->begin_bytes && skip_bytes <= part->n_bytes &&
            n_bytes <= part->n_bytes - skip_bytes)
            return part->range.data + skip_bytes;
    }
    return NULL;
}

/* `shape` has enough room. */
static bool parse_tensor(const json_t *object, const struct mapped_layer *mapped, uint64_t *shape,
                         struct edgemind_tensor *ret)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    const char *type = json_string_value(json_object_get(object, "dtype"));
    const json_t *dimensions = json_object_get(object, "shape");
    uint64_t offset, n_bytes;
    json_t *dimension;
    size_t i;

    if (!name || !type || !json_is_array(dimensions) ||
        !parse_sizes(object, "offset", &offset, "bytes", &n_bytes))
        return false;
    const unsigned char *data = find_bytes(mapped, offset, n_bytes);
    if (!data)
        return false;
    json_array_foreach (dimensions, i, dimension) {
        if (!json_is_integer(dimension) || json_integer_value(dimension) < 0)
            return false;
        shape[i] = (uint64_t)json_integer_value(dimension);
    }
    *ret = (struct edgemind_tensor){
        .name = name,
        .dtype = type,
        .shape = shape,
        .n_dimensions = json_array_size(dimensions),
        .data = data,
        .bytes = (size_t)n_bytes,
    };
    return fits(ret);
}

static int parse_tensors(struct mapped_layer *mapped, const json_t *array)
{
    size_t i, n_dimensions = 0;
    json_t *object;

    json_array_foreach (array, i, object)
        n_dimensions += json_array_size(json_object_get(object, "shape"));
    mapped->tensors = calloc(json_array_size(array) + 1, sizeof *mapped->tensors);
    mapped->shapes = calloc(n_dimensions + 1, sizeof *mapped->shapes);
    if (!mapped->tensors || !mapped->shapes)
        return -ENOMEM;
    uint64_t *shape = mapped->shapes;
    json_array_foreach (array, i, object) {
        struct edgemind_tensor *tensor = &mapped->tensors[mapped->n_tensors++];
        if (!parse_tensor(object, mapped, shape, tensor))
            return -EBADMSG;
        shape += tensor->n_dimensions;
    }
    return 0;
}

static int map_part(struct mapped_layer *mapped, struct arena_map *map,
                    const struct arena_segment *segments, size_t n_segments)
{
    struct mapped_part *part = &mapped->parts[mapped->n_parts];

    if (mapped->n_parts > 0)
        part->begin_bytes = part[-1].begin_bytes + part[-1].n_bytes;
    for (size_t i = 0; i < n_segments; i++)
        part->n_bytes += segments[i].n_bytes;
    int r = arena_range_init(&part->range, map, segments, n_segments);
    mapped->n_parts += r == 0;
    return r;
}

static int map_parts(struct mapped_layer *mapped, struct arena_map *map,
                     const struct arena_segment *segments, size_t n_segments, bool has_units)
{
    size_t i = 0, n;
    int r = 0;

    mapped->parts = calloc(has_units ? n_segments : 1, sizeof *mapped->parts);
    if (!mapped->parts)
        return -ENOMEM;
    for (; i < n_segments && r == 0; i += n) {
        n = has_units ? arena_map_count_joined(map, segments + i, n_segments - i) : n_segments;
        r = map_part(mapped, map, segments + i, n);
    }
    return r;
}

int mapped_layer_init(struct mapped_layer *mapped, json_t *reply, struct arena_map *map,
                      bool has_units)
{
    _cleanup_(freep) struct arena_segment *segments = NULL;
    json_t *lease, *segment_array, *tensor_array;
    size_t n_segments;
    json_int_t bytes;

    *mapped = (struct mapped_layer){0};
    int r = json_read(reply, "{s:o, s:s, s:I, s:I, s:o, s:o}", "lease", &lease, "layer",
                      &mapped->layer, "bytes", &bytes, "fill", &mapped->fill, "segments",
                      &segment_array, "tensors", &tensor_array);
    if (r < 0)
        return r;
    if (!json_is_string(lease) || bytes <= 0 || !json_is_array(segment_array) ||
        !json_is_array(tensor_array))
        return -EBADMSG;
    mapped->bytes = (size_t)bytes; /* as many if they can be mapped */
    r = parse_segments(segment_array, (uint64_t)bytes, &segments, &n_segments);
    if (r == 0)
        r = map_parts(mapped, map, segments, n_segments, has_units);
    if (r == 0)
        r = parse_tensors(mapped, tensor_array);
    if (r < 0) {
        mapped_layer_done(mapped);
        return r;
    }
    mapped->reply = json_incref(reply);
    mapped->lease = json_incref(lease);
    return 0;
}

bool mapped_layer_is_lost(const struct mapped_layer *mapped, bool look)
{
    for (size_t i = 0; i < mapped->n_parts; i++) {
        const struct arena_range *range = &mapped->parts[i].range;
        if (look ? arena_range_is_lost(range) : arena_map_is_lost(range->map))
            return true;
    }
    return false;
}

bool mapped_layer_is_like(const struct mapped_layer *a, const struct mapped_layer *b)
{
    return a->bytes == b->bytes && strcmp(a->layer, b->layer) == 0 &&
           json_equal(json_object_get(a->reply, "tensors"), json_object_get(b->reply, "tensors"));
}

bool mapped_layer_is_same(const struct mapped_layer *a, const struct mapped_layer *b)
{
    if (a->n_parts != b->n_parts || a->fill != b->fill)
        return false;
    for (size_t i = 0; i < a->n_parts; i++) {
        const struct arena_range *range = &a->parts[i].range, *other = &b->parts[i].range;
        if (range->map != other->map || range->data != other->data)
            return false;
    }
    return mapped_layer_is_like(a, b);
}
