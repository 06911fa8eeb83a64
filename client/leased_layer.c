/* Reads instead of mapping: an arena that is cut short is then an error and not a SIGBUS.
 *
 * Invariant: the segments' sum does not overflow, and every range of weights lies inside it. */
#include "client/leased_layer.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

void leased_layer_done(struct leased_layer *layer)
{
    closep(&layer->arena_fd);
    free(layer->segments);
    free(layer->weights);
    *layer = (struct leased_layer){.arena_fd = -1};
}

/* Two keys that hold sizes. 0 or -EBADMSG. */
static int parse_range(json_t *object, const char *offset_key, const char *size_key,
                       struct byte_range *ret)
{
    json_int_t offset, n;

    if (json_unpack(object, "{s:I, s:I}", offset_key, &offset, size_key, &n) < 0 || offset < 0 ||
        n < 0)
        return -EBADMSG;
    *ret = (struct byte_range){(uint64_t)offset, (uint64_t)n};
    return 0;
}

static int parse_segments(struct leased_layer *layer, json_t *segments, uint64_t layer_bytes)
{
    uint64_t sum_bytes = 0;
    json_t *segment;
    size_t i;

    layer->segments = calloc(json_array_size(segments) + 1, sizeof *layer->segments);
    if (!layer->segments)
        return -ENOMEM;
    json_array_foreach (segments, i, segment) {
        struct byte_range *range = &layer->segments[layer->n_segments++];
        if (parse_range(segment, "offset", "length", range) < 0 ||
            __builtin_add_overflow(sum_bytes, range->n_bytes, &sum_bytes))
            return -EBADMSG;
    }
    return sum_bytes == layer_bytes ? 0 : -EBADMSG;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct byte_range *x = a, *y = b;
    return (x->offset_bytes > y->offset_bytes) - (x->offset_bytes < y->offset_bytes);
}

static int parse_weights(struct leased_layer *layer, json_t *tensors, const char *wanted,
                         uint64_t layer_bytes)
{
    json_t *tensor;
    size_t i;

    layer->weights = calloc(json_array_size(tensors) + 1, sizeof *layer->weights);
    if (!layer->weights)
        return -ENOMEM;
    if (!wanted && json_array_size(tensors) == 0)
        layer->weights[layer->n_weights++] = (struct byte_range){0, layer_bytes};
    json_array_foreach (tensors, i, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        struct byte_range range;
        uint64_t end_bytes;
        if (!name || parse_range(tensor, "offset", "bytes", &range) < 0 ||
            __builtin_add_overflow(range.offset_bytes, range.n_bytes, &end_bytes) ||
            end_bytes > layer_bytes)
            return -EBADMSG;
        if (!wanted || strcmp(name, wanted) == 0)
            layer->weights[layer->n_weights++] = range;
    }
    if (layer->n_weights == 0)
        return -ENOENT;
    qsort(layer->weights, layer->n_weights, sizeof *layer->weights, compare_ranges);
    return 0;
}

int leased_layer_init(struct leased_layer *layer, json_t *reply, int arena_fd, const char *tensor)
{
    json_t *segments, *tensors;
    json_int_t bytes;
    int r = -EBADMSG;

    *layer = (struct leased_layer){.arena_fd = arena_fd};
    if (json_unpack(reply, "{s:I, s:o, s:o}", "bytes", &bytes, "segments", &segments, "tensors",
                    &tensors) == 0 &&
        bytes >= 0 && json_is_array(segments) && json_is_array(tensors))
        r = parse_segments(layer, segments, (uint64_t)bytes);
    if (r == 0)
        r = parse_weights(layer, tensors, tensor, (uint64_t)bytes);
    if (r < 0)
        leased_layer_done(layer);
    return r;
}

static int read_all(int fd, uint64_t offset_bytes, char *buffer, size_t n_bytes)
{
    while (n_bytes > 0) {
        ssize_t n = pread(fd, buffer, n_bytes, (off_t)offset_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        buffer += n;
        offset_bytes += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

int leased_layer_read(const struct leased_layer *layer, uint64_t offset_bytes, void *buffer,
                      size_t n_bytes)
{
    char *to = buffer;

    for (size_t i = 0; i < layer->n_segments && n_bytes > 0; i++) {
        const struct byte_range *segment = &layer->segments[i];
        if (offset_bytes >= segment->n_bytes) {
            offset_bytes -= segment->n_bytes;
            continue;
        }
        uint64_t left_bytes = segment->n_bytes - offset_bytes;
        size_t n = left_bytes < n_bytes ? (size_t)left_bytes : n_bytes;
        int r = read_all(layer->arena_fd, segment->offset_bytes + offset_bytes, to, n);
        if (r < 0)
            return r;
        to += n;
        n_bytes -= n;
        offset_bytes = 0;
    }
    return n_bytes == 0 ? 0 : -EINVAL;
}
