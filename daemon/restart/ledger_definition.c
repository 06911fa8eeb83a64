/* Owns the layout of a definition in the ledger, and writes it. A number has seven bits in each
 * byte, the lowest first. A string has its length before it. An element type is its name.
 *
 * model:   name, 1 if `weights` follows or else 0, `weights`; n files, n layers; the files, the
 * layers
 *
 * file:    path, bytes; modification time, status change time (seconds and nanoseconds each);
 *          device, inode
 *
 * layer:   name, bytes, shift; n tensors, n pieces; the tensors, the pieces
 *
 * tensor:  name, type; n dimensions, the dimensions; offset, bytes
 *
 * piece:   offset in the file, offset in the layer, bytes, number of the file */
#include "daemon/restart/ledger_definition.h"

#include "daemon/restart/crc32c.h"
#include "daemon/restart/ledger_file.h"

#include <errno.h>
#include <string.h>

enum { BUFFER_BYTES = 16 * 1024, NUMBER_BYTES_MAX = 10 };

struct writer {
    int fd, error;
    bool only_counts;
    uint64_t offset_bytes, n_bytes;
    uint32_t crc;
    size_t n_buffered;
    unsigned char buffer[BUFFER_BYTES];
};

static void flush(struct writer *writer)
{
    if (writer->error == 0 && !writer->only_counts)
        writer->error = ledger_write(writer->fd, writer->offset_bytes + writer->n_bytes,
                                     writer->buffer, writer->n_buffered);
    if (!writer->only_counts)
        writer->crc = crc32c(writer->crc, writer->buffer, writer->n_buffered);
    writer->n_bytes += writer->n_buffered;
    writer->n_buffered = 0;
}

static void put_bytes(struct writer *writer, const void *bytes, size_t n_bytes)
{
    const unsigned char *at = bytes;
    while (n_bytes > 0) {
        size_t n = BUFFER_BYTES - writer->n_buffered;
        if (n > n_bytes)
            n = n_bytes;
        memcpy(writer->buffer + writer->n_buffered, at, n);
        writer->n_buffered += n;
        at += n;
        n_bytes -= n;
        if (writer->n_buffered == BUFFER_BYTES)
            flush(writer);
    }
}

static void put_number(struct writer *writer, uint64_t number)
{
    unsigned char digits[NUMBER_BYTES_MAX];
    size_t n = 0;
    do
        digits[n++] = (unsigned char)((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
    while ((number >>= 7) > 0);
    put_bytes(writer, digits, n);
}

static void put_string(struct writer *writer, const char *text)
{
    size_t n = strlen(text);
    put_number(writer, n);
    put_bytes(writer, text, n);
}

static void put_file(struct writer *writer, const struct weight_file *file)
{
    if (file->fd < 0 && writer->error == 0)
        writer->error = -EBADF;
    put_string(writer, file->path);
    put_number(writer, file->bytes);
    put_number(writer, (uint64_t)file->modified.tv_sec);
    put_number(writer, (uint64_t)file->modified.tv_nsec);
    put_number(writer, (uint64_t)file->status_changed.tv_sec);
    put_number(writer, (uint64_t)file->status_changed.tv_nsec);
    put_number(writer, file->device);
    put_number(writer, file->inode);
}

static void put_layer(struct writer *writer, const struct layer_definition *layer)
{
    put_string(writer, layer->name);
    put_number(writer, layer->bytes);
    put_number(writer, layer->shift_bytes);
    put_number(writer, layer->n_tensors);
    put_number(writer, layer->n_pieces);
    for (uint32_t i = 0; i < layer->n_tensors; i++) {
        const struct tensor *tensor = &layer->tensors[i];
        put_string(writer, tensor->name);
        put_string(writer, dtype_name(tensor->type));
        put_number(writer, tensor->n_dims);
        for (unsigned j = 0; j < tensor->n_dims; j++)
            put_number(writer, tensor->shape[j]);
        put_number(writer, tensor->offset_bytes);
        put_number(writer, tensor->bytes);
    }
    for (uint32_t i = 0; i < layer->n_pieces; i++) {
        const struct piece *piece = &layer->pieces[i];
        put_number(writer, piece->file_offset_bytes);
        put_number(writer, piece->layer_offset_bytes);
        put_number(writer, piece->bytes);
        put_number(writer, piece->source);
    }
}

static void put_definition(struct writer *writer, const struct definition *definition)
{
    put_string(writer, definition->name);
    put_number(writer, definition->weights != NULL);
    if (definition->weights)
        put_string(writer, definition->weights);
    put_number(writer, definition->n_files);
    put_number(writer, definition->n_layers);
    for (uint32_t i = 0; i < definition->n_files; i++)
        put_file(writer, &definition->files[i]);
    for (uint32_t i = 0; i < definition->n_layers; i++)
        put_layer(writer, &definition->layers[i]);
    flush(writer);
}

int ledger_definition_write(int fd, uint64_t offset_bytes, const struct definition *definition,
                            uint64_t *ret_bytes, uint32_t *ret_crc)
{
    struct writer writer = {.fd = fd, .offset_bytes = offset_bytes};
    put_definition(&writer, definition);
    if (writer.error < 0)
        return writer.error;
    *ret_bytes = writer.n_bytes;
    *ret_crc = writer.crc;
    return 0;
}

int ledger_definition_measure(const struct definition *definition, uint64_t *ret_bytes)
{
    struct writer writer = {.only_counts = true};
    put_definition(&writer, definition);
    *ret_bytes = writer.n_bytes;
    return writer.error;
}
