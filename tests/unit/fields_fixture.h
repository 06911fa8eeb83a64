/* Structures and their tables for the tests of decoding and encoding by table. */
#pragma once

#include "proto/fields.h"

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inner {
    uint64_t count;
    const char *label;
};

struct sample {
    bool flag;
    uint64_t size;
    int64_t offset;
    double ratio;
    const char *name;
    struct inner inner;
    json_t *any;
};

static const struct field inner_fields[] = {
    {"count", FIELD_U64, offsetof(struct inner, count), FIELD_REQUIRED},
    {"label", FIELD_STRING, offsetof(struct inner, label), FIELD_NULLABLE},
    {0},
};

static const struct field fields[] = {
    {"flag", FIELD_BOOL, offsetof(struct sample, flag)},
    {"size", FIELD_U64, offsetof(struct sample, size), FIELD_NULLABLE},
    {"offset", FIELD_I64, offsetof(struct sample, offset)},
    {"ratio", FIELD_REAL, offsetof(struct sample, ratio), FIELD_NULLABLE},
    {"name", FIELD_STRING, offsetof(struct sample, name), FIELD_NULLABLE},
    {"inner", FIELD_OBJECT, offsetof(struct sample, inner), 0, inner_fields},
    {"any", FIELD_JSON, offsetof(struct sample, any), FIELD_NULLABLE},
    {0},
};

static const struct field nothing[] = {{0}};

static inline json_t *parse(const char *text)
{
    json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(json);
    return json;
}
