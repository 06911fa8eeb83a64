/* Weight files of tensors that a line of text names, and what must hold of the layers that are made
 * of them. The fixture frees both. */
#pragma once

#include "common/formats/weights.h"
#include "tests/unit/weight_bytes.h"

#include <stdio.h>

enum { FILES_MAX = 4 };

static struct tensor_file *files[FILES_MAX];
static uint32_t n_files;
static struct definition *definition;
static struct definition_problem problem;

/* No files, no definition. */
static inline void begin(void)
{
    definition_unref(definition);
    definition = NULL;
    while (n_files > 0)
        tensor_file_free(files[--n_files]);
}

/* Frees the bytes. */
static inline void read_file(struct bytes *bytes)
{
    struct tensor_file *file = NULL;

    ck_assert_uint_lt(n_files, FILES_MAX);
    int r = bytes_parse(bytes, &file, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    free(bytes->at);
    files[n_files++] = file;
}

/* "name bytes name bytes ...": one file's tensors, U8, as they follow each other. */
static inline void add_file(const char *spec)
{
    char *header = calloc(1, strlen(spec) * 20 + 100);
    uint64_t offset = 0;
    int n_read, n_used = 1;
    char name[256];
    uint64_t n;

    ck_assert_ptr_nonnull(header);
    strcpy(header, "{");
    for (; sscanf(spec, "%255s %" SCNu64 "%n", name, &n, &n_read) == 2; spec += n_read) {
        n_used += sprintf(header + n_used,
                          "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64
                          "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                          n_used > 1 ? "," : "", name, n, offset, offset + n);
        offset += n;
    }
    /* The data begins at byte 4096, which makes offsets easy to tell. */
    strcpy(header + n_used, "}");
    n_used++;
    ck_assert_int_le(n_used, 4088);
    header = realloc(header, 4089);
    memset(header + n_used, ' ', (size_t)(4088 - n_used));
    header[4088] = '\0';

    struct bytes bytes = safetensors_bytes(header, offset);
    read_file(&bytes);
    free(header);
}

/* The same as GGUF: I8 tensors, each at the next multiple of `alignment`. */
static inline void add_gguf(const char *spec, uint32_t alignment)
{
    struct bytes bytes = {0}, infos = {0};
    uint64_t offset = 0, n_tensors = 0, n, end = 0;
    int n_read;
    char name[256];

    for (; sscanf(spec, "%255s %" SCNu64 "%n", name, &n, &n_read) == 2; spec += n_read) {
        gguf_tensor(&infos, name, 1, &n, 24, offset);
        end = offset + n;
        offset = (end + alignment - 1) / alignment * alignment;
        n_tensors++;
    }
    gguf_header(&bytes, 3, n_tensors, 1);
    gguf_key(&bytes, "general.alignment", GGUF_U32);
    bytes_number(&bytes, alignment, 4);
    bytes_add(&bytes, infos.at, infos.n);
    gguf_data(&bytes, alignment, end);
    read_file(&bytes);
    free(infos.at);
}

/* Checks that hold for every bound layer. */
static inline void check_layer(const struct layer_definition *layer)
{
    uint64_t end = 0;

    REQUIRE(layer->bytes > 0);
    REQUIRE(layer->n_pieces > 0);
    REQUIRE(layer->pieces[0].layer_offset_bytes == 0);
    REQUIRE(layer->shift_bytes < piece_align_bytes());
    for (uint32_t i = 0; i < layer->n_pieces; i++) {
        const struct piece *piece = &layer->pieces[i];
        uint64_t place = layer->shift_bytes + piece->layer_offset_bytes;
        REQUIRE(piece->bytes > 0);
        REQUIRE(place % piece_align_bytes() == piece->file_offset_bytes % piece_align_bytes());
        if (i > 0) {
            uint64_t last = layer->shift_bytes + end - 1;
            REQUIRE(place / piece_align_bytes() > last / piece_align_bytes());
            REQUIRE(place / piece_align_bytes() - last / piece_align_bytes() <= 1);
        }
        end = piece->layer_offset_bytes + piece->bytes;
    }
    REQUIRE(layer->bytes == end);

    for (uint32_t i = 0; i < layer->n_tensors; i++) {
        const struct tensor *tensor = &layer->tensors[i];
        uint32_t p = 0, source = 0;
        int64_t index = -ENOENT;
        for (; index < 0; source++)
            index = tensor_file_find(files[source], tensor->name);
        const struct tensor_entry *entry = &files[--source]->entries[index];
        REQUIRE(tensor->bytes == entry->bytes);
        REQUIRE(tensor->n_dims == entry->n_dims);
        REQUIRE(tensor->offset_bytes <= layer->bytes);
        if (tensor->bytes == 0)
            continue;
        while (tensor->offset_bytes >= layer->pieces[p].layer_offset_bytes + layer->pieces[p].bytes)
            REQUIRE(++p < layer->n_pieces);
        const struct piece *piece = &layer->pieces[p];
        uint64_t in_piece = tensor->offset_bytes - piece->layer_offset_bytes;
        REQUIRE(tensor->offset_bytes >= piece->layer_offset_bytes);
        REQUIRE(in_piece + tensor->bytes <= piece->bytes);
        REQUIRE(piece->file_offset_bytes + in_piece == entry->file_offset_bytes);
        REQUIRE(piece->source == source);
    }
}

static inline void check_definition(void)
{
    uint64_t bytes = 0;

    REQUIRE(definition->n_layers > 0);
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        check_layer(&definition->layers[i]);
        bytes += definition->layers[i].bytes;
        REQUIRE(definition_find_layer(definition, definition->layers[i].name) == i);
    }
    REQUIRE(bytes == definition->bytes);
}
