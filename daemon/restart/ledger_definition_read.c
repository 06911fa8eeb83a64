/* Reads a definition back from the ledger, and trusts it no more than a stranger's. After its
 * checks the loader cannot write outside of a layer, and no name can break a reply. */
#include "common/definition/definition_pool.h"
#include "common/utf8.h"
#include "daemon/restart/crc32c.h"
#include "daemon/restart/ledger_definition.h"
#include "daemon/restart/ledger_file.h"

#include <errno.h>
#include <string.h>

enum {
    BUFFER_BYTES = 16 * 1024,
    PATH_BYTES_MAX = 64 * 1024, /* the most that a call can hold */
    FILES_MAX = 4096
};

struct reader {
    int fd;
    uint64_t offset_bytes, left_bytes; /* in the file, behind the buffered bytes */
    uint32_t crc;
    size_t n_buffered, n_used;
    unsigned char buffer[BUFFER_BYTES];

    struct definition *definition;
    struct ledger_source *sources;
    uint64_t n_tensors;
};

static int get_bytes(struct reader *reader, void *to, size_t n_bytes)
{
    unsigned char *at = to;
    while (n_bytes > 0) {
        if (reader->n_used == reader->n_buffered) {
            size_t n =
                reader->left_bytes < BUFFER_BYTES ? (size_t)reader->left_bytes : BUFFER_BYTES;
            if (n == 0)
                return -EBADMSG;
            int r = ledger_read(reader->fd, reader->offset_bytes, reader->buffer, n);
            if (r < 0)
                return r;
            reader->crc = crc32c(reader->crc, reader->buffer, n);
            reader->offset_bytes += n;
            reader->left_bytes -= n;
            reader->n_buffered = n;
            reader->n_used = 0;
        }
        size_t n = reader->n_buffered - reader->n_used;
        if (n > n_bytes)
            n = n_bytes;
        memcpy(at, reader->buffer + reader->n_used, n);
        reader->n_used += n;
        at += n;
        n_bytes -= n;
    }
    return 0;
}

static int get_number(struct reader *reader, uint64_t maximum, uint64_t *ret)
{
    uint64_t number = 0;
    unsigned char digit = 0x80;
    for (unsigned shift = 0; digit & 0x80; shift += 7) {
        int r = get_bytes(reader, &digit, 1);
        if (r < 0)
            return r;
        uint64_t bits = digit & 0x7f;
        if (shift >= 64 || bits << shift >> shift != bits)
            return -EBADMSG;
        number |= bits << shift;
    }
    if (number > maximum)
        return -EBADMSG;
    *ret = number;
    return 0;
}

static int get_u32(struct reader *reader, uint32_t maximum, uint32_t *ret)
{
    uint64_t number;
    int r = get_number(reader, maximum, &number);
    if (r == 0)
        *ret = (uint32_t)number;
    return r;
}

/* 1 to `n_bytes_max` bytes of UTF-8 without controls, in the definition's pool. */
static int get_string(struct reader *reader, size_t n_bytes_max, char **ret)
{
    uint64_t n_bytes;
    int r = get_number(reader, n_bytes_max, &n_bytes);
    if (r < 0 || n_bytes == 0)
        return r < 0 ? r : -EBADMSG;
    char *text = definition_pool_string(reader->definition->pool, (size_t)n_bytes);
    if (!text)
        return -ENOMEM;
    r = get_bytes(reader, text, (size_t)n_bytes);
    for (size_t i = 0, n = 0; r == 0 && i < n_bytes; i += n) {
        uint32_t character;
        n = utf8_character(text + i, (size_t)n_bytes - i, &character);
        if (n == 0 || utf8_is_control(character))
            return -EBADMSG;
    }
    *ret = text;
    return r;
}

static int get_name(struct reader *reader, const char **ret)
{
    char *name;
    int r = get_string(reader, DEFINITION_NAME_MAX, &name);
    if (r == 0)
        *ret = name;
    return r;
}

static int get_time(struct reader *reader, struct timespec *ret)
{
    uint64_t seconds, nanoseconds;
    int r;
    if ((r = get_number(reader, UINT64_MAX, &seconds)) < 0 ||
        (r = get_number(reader, 999999999, &nanoseconds)) < 0)
        return r;
    *ret = (struct timespec){(time_t)seconds, (long)nanoseconds};
    return 0;
}

/* Each file owns a copy of its path, outside of the pool. */
static int get_files(struct reader *reader, uint32_t n_files)
{
    struct definition *definition = reader->definition;
    int r = 0;
    definition->files = calloc((size_t)n_files + 1, sizeof *definition->files);
    reader->sources = calloc((size_t)n_files + 1, sizeof *reader->sources);
    if (!definition->files || !reader->sources)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_files && r == 0; i++) {
        struct weight_file *file = &definition->files[i];
        struct ledger_source *source = &reader->sources[i];
        char *path;
        if ((r = get_string(reader, PATH_BYTES_MAX, &path)) < 0 ||
            (r = get_number(reader, UINT64_MAX, &file->bytes)) < 0 ||
            (r = get_time(reader, &file->modified)) < 0 ||
            (r = get_time(reader, &file->status_changed)) < 0 ||
            (r = get_number(reader, UINT64_MAX, &source->device)) < 0 ||
            (r = get_number(reader, UINT64_MAX, &source->inode)) < 0)
            break;
        file->fd = -1;
        file->path = strdup(path);
        definition->n_files = i + 1;
        if (!file->path)
            r = -ENOMEM;
    }
    return r;
}

static int get_tensor(struct reader *reader, uint64_t layer_bytes, struct tensor *ret)
{
    char *type;
    uint64_t n_dims, n_elements = 1, bytes, end;
    int r;
    if ((r = get_name(reader, &ret->name)) < 0 ||
        (r = get_string(reader, DEFINITION_NAME_MAX, &type)) < 0 ||
        (r = get_number(reader, DEFINITION_RANK_MAX, &n_dims)) < 0)
        return r;
    uint64_t *shape = definition_pool_alloc(reader->definition->pool, n_dims * sizeof *shape);
    if (!shape)
        return -ENOMEM;
    for (unsigned i = 0; i < n_dims; i++) {
        if ((r = get_number(reader, INT64_MAX, &shape[i])) < 0)
            return r;
        if (__builtin_mul_overflow(n_elements, shape[i], &n_elements))
            return -EBADMSG;
    }
    ret->shape = shape;
    ret->n_dims = (uint8_t)n_dims;
    if ((r = get_number(reader, layer_bytes, &ret->offset_bytes)) < 0 ||
        (r = get_number(reader, layer_bytes, &ret->bytes)) < 0)
        return r;
    if (dtype_parse(type, &ret->type) < 0 || dtype_bytes(ret->type, n_elements, &bytes) < 0 ||
        bytes != ret->bytes || __builtin_add_overflow(ret->offset_bytes, bytes, &end) ||
        end > layer_bytes)
        return -EBADMSG;
    return 0;
}

/* `end_bytes` is the end of the block in which the piece before this one ends, counted from the
 * layer's first page. It is moved to the end of this piece's last block. The loader's chunks rely
 * on pieces that share no block. */
static int get_piece(struct reader *reader, const struct layer_definition *layer,
                     uint64_t *end_bytes, struct piece *ret)
{
    const struct definition *definition = reader->definition;
    uint64_t begin, end, file_end;
    int r;
    if ((r = get_number(reader, UINT64_MAX, &ret->file_offset_bytes)) < 0 ||
        (r = get_number(reader, layer->bytes, &ret->layer_offset_bytes)) < 0 ||
        (r = get_number(reader, layer->bytes, &ret->bytes)) < 0 ||
        (r = get_u32(reader, UINT32_MAX, &ret->source)) < 0)
        return r;
    if (ret->bytes == 0 || ret->bytes > layer->bytes - ret->layer_offset_bytes ||
        ret->source >= definition->n_files ||
        __builtin_add_overflow(ret->file_offset_bytes, ret->bytes, &file_end) ||
        file_end > definition->files[ret->source].bytes ||
        __builtin_add_overflow(ret->layer_offset_bytes, (uint64_t)layer->shift_bytes, &begin) ||
        __builtin_add_overflow(begin, ret->bytes + piece_align_bytes() - 1, &end) ||
        (begin ^ ret->file_offset_bytes) % piece_align_bytes() != 0)
        return -EBADMSG;
    if (begin - begin % piece_align_bytes() < *end_bytes)
        return -EBADMSG;
    *end_bytes = end - end % piece_align_bytes();
    return 0;
}

static int get_layer(struct reader *reader, struct layer_definition *ret)
{
    struct definition *definition = reader->definition;
    uint64_t end_bytes = 0;
    int r;
    if ((r = get_name(reader, &ret->name)) < 0 ||
        (r = get_number(reader, UINT64_MAX - 2 * piece_align_bytes(), &ret->bytes)) < 0 ||
        (r = get_u32(reader, (uint32_t)piece_align_bytes() - 1, &ret->shift_bytes)) < 0 ||
        (r = get_u32(reader, DEFINITION_TENSORS_MAX, &ret->n_tensors)) < 0 ||
        (r = get_u32(reader, ret->n_tensors, &ret->n_pieces)) < 0)
        return r;
    reader->n_tensors += ret->n_tensors;
    if (ret->bytes == 0 || reader->n_tensors > DEFINITION_TENSORS_MAX ||
        __builtin_add_overflow(definition->bytes, ret->bytes, &definition->bytes))
        return -EBADMSG;

    struct tensor *tensors =
        definition_pool_alloc(definition->pool, ret->n_tensors * sizeof *tensors);
    struct piece *pieces = definition_pool_alloc(definition->pool, ret->n_pieces * sizeof *pieces);
    if (!tensors || !pieces)
        return -ENOMEM;
    for (uint32_t i = 0; i < ret->n_tensors; i++)
        if ((r = get_tensor(reader, ret->bytes, &tensors[i])) < 0)
            return r;
    for (uint32_t i = 0; i < ret->n_pieces; i++)
        if ((r = get_piece(reader, ret, &end_bytes, &pieces[i])) < 0)
            return r;
    ret->tensors = ret->n_tensors > 0 ? tensors : NULL;
    ret->pieces = ret->n_pieces > 0 ? pieces : NULL;
    return 0;
}

static int compare_layers(const void *a, const void *b, void *context)
{
    const struct layer_definition *layers = context;
    return strcmp(layers[*(const uint32_t *)a].name, layers[*(const uint32_t *)b].name);
}

static int order_layers(struct definition *definition)
{
    uint32_t *order = definition->by_name;
    for (uint32_t i = 0; i < definition->n_layers; i++)
        order[i] = i;
    qsort_r(order, definition->n_layers, sizeof *order, compare_layers, definition->layers);
    for (uint32_t i = 1; i < definition->n_layers; i++)
        if (compare_layers(&order[i - 1], &order[i], definition->layers) == 0)
            return -EBADMSG;
    return 0;
}

static int get_definition(struct reader *reader)
{
    struct definition *definition = reader->definition;
    uint64_t has_weights;
    uint32_t n_files = 0;
    int r;
    if ((r = get_string(reader, DEFINITION_NAME_MAX, &definition->name)) < 0 ||
        (r = get_number(reader, 1, &has_weights)) < 0 ||
        (has_weights && (r = get_string(reader, PATH_BYTES_MAX, &definition->weights)) < 0) ||
        (r = get_u32(reader, FILES_MAX, &n_files)) < 0 ||
        (r = get_u32(reader, DEFINITION_LAYERS_MAX, &definition->n_layers)) < 0 ||
        (r = get_files(reader, n_files)) < 0)
        return r;
    if (definition->n_layers == 0)
        return -EBADMSG;
    size_t n_layers = definition->n_layers;
    definition->layers =
        definition_pool_alloc(definition->pool, n_layers * sizeof *definition->layers);
    definition->by_name =
        definition_pool_alloc(definition->pool, n_layers * sizeof *definition->by_name);
    if (!definition->layers || !definition->by_name)
        return -ENOMEM;
    for (size_t i = 0; i < n_layers; i++)
        if ((r = get_layer(reader, &definition->layers[i])) < 0)
            return r;
    return order_layers(definition);
}

int ledger_definition_read(int fd, uint64_t offset_bytes, uint64_t n_bytes, uint32_t crc,
                           struct definition **ret, struct ledger_source **ret_sources)
{
    _cleanup_(definition_unrefp) struct definition *definition = calloc(1, sizeof *definition);
    if (!definition)
        return -ENOMEM;
    definition->n_refs = 1;
    definition->pool = definition_pool_new();
    if (!definition->pool)
        return -ENOMEM;
    struct reader reader = {
        .fd = fd, .offset_bytes = offset_bytes, .left_bytes = n_bytes, .definition = definition};
    int r = get_definition(&reader);
    if (r == 0 && (reader.left_bytes > 0 || reader.n_used < reader.n_buffered || reader.crc != crc))
        r = -EBADMSG;
    if (r < 0) {
        free(reader.sources);
        return r;
    }
    *ret_sources = reader.sources;
    *ret = TAKE_PTR(definition);
    return 0;
}
