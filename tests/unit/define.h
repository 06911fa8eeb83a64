/* Definitions of size-only layers for the scheduler's tests. */
#pragma once

#include "common/definition/definition_parse.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>

/* A model of layers "l0", "l1" and so on; the caller owns the reference. */
static inline struct definition *define(const char *name, const uint64_t *bytes, uint32_t n_layers)
{
    _cleanup_(freep) char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    ck_assert_ptr_nonnull(stream);
    fprintf(stream, "{\"name\": \"%s\", \"layers\": [", name);
    for (uint32_t i = 0; i < n_layers; i++)
        fprintf(stream, "%s{\"name\": \"l%" PRIu32 "\", \"bytes\": %" PRIu64 "}", i ? "," : "", i,
                bytes[i]);
    fputs("]}", stream);
    ck_assert_int_eq(fclose(stream), 0);

    struct definition *definition = NULL;
    struct definition_problem problem;
    ck_assert_int_eq(definition_parse(text, n_bytes, &definition, &problem), 0);
    return definition;
}
