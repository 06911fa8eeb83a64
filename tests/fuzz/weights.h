/* Reads a fuzzer's input as a weight file, groups its tensors, and aborts if what was accepted
 * breaks a promise of tensor_file.h or weights.h. */
#pragma once

#include "common/formats/weights.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static inline int fuzz_read(void *context, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    memcpy(buffer, (const uint8_t *)context + offset_bytes, n_bytes);
    return 0;
}

static inline void fuzz_check_problem(int r, const struct definition_problem *problem)
{
    REQUIRE(r == -EBADMSG || r == -ENOMEM);
    if (r == -EBADMSG) {
        REQUIRE(memchr(problem->path, '\0', sizeof problem->path));
        REQUIRE(memchr(problem->message, '\0', sizeof problem->message));
        REQUIRE(problem->message[0]);
    }
}

static inline void fuzz_check_file(const struct tensor_file *file, uint64_t size_bytes)
{
    uint64_t end = 0;

    REQUIRE(file->n_entries > 0 || file->n_parts > 1);
    for (uint32_t i = 0; i < file->n_entries; i++) {
        const struct tensor_entry *entry = &file->entries[i];
        REQUIRE(entry->file_offset_bytes <= size_bytes);
        REQUIRE(entry->bytes <= size_bytes - entry->file_offset_bytes);
        REQUIRE(entry->bytes == 0 || entry->file_offset_bytes >= end);
        if (entry->bytes > 0)
            end = entry->file_offset_bytes + entry->bytes;
        REQUIRE(tensor_file_find(file, entry->name) == i);
    }
}

static inline void fuzz_check_definition(const struct definition *definition)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t end = 0;
        for (uint32_t j = 0; j < layer->n_pieces; j++) {
            const struct piece *piece = &layer->pieces[j];
            uint64_t place = layer->shift_bytes + piece->layer_offset_bytes;
            REQUIRE(place % piece_align_bytes() == piece->file_offset_bytes % piece_align_bytes());
            REQUIRE(j == 0 || place / piece_align_bytes() >
                                  (layer->shift_bytes + end - 1) / piece_align_bytes());
            end = piece->layer_offset_bytes + piece->bytes;
        }
        REQUIRE(layer->bytes > 0 && layer->bytes == end);
        for (uint32_t j = 0; j < layer->n_tensors; j++)
            REQUIRE(layer->tensors[j].offset_bytes <= layer->bytes &&
                    layer->tensors[j].bytes <= layer->bytes - layer->tensors[j].offset_bytes);
        bytes += layer->bytes;
    }
    REQUIRE(definition->n_layers > 0 && definition->bytes == bytes);
}

static inline void fuzz_weights(const uint8_t *data, size_t n_bytes)
{
    struct byte_source source = {fuzz_read, (void *)(uintptr_t)data, n_bytes};
    struct definition_problem problem;
    struct tensor_file *file = NULL;
    struct definition *definition = NULL;

    int r = tensor_file_read(&source, &file, &problem);
    if (r < 0) {
        fuzz_check_problem(r, &problem);
        REQUIRE(!file);
        return;
    }
    fuzz_check_file(file, n_bytes);
    r = weights_group(file->model_name ? file->model_name : "fuzz", &file, 1, n_bytes % 2 ? 64 : 0,
                      &definition, &problem);
    if (r < 0)
        fuzz_check_problem(r, &problem);
    else
        fuzz_check_definition(definition);
    definition_unref(definition);
    tensor_file_free(file);
}
