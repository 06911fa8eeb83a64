/* Converts JSON objects to plain structs and back, by table. A method's parameters are decoded by
 * its table before the method runs; replies are encoded by the same kind of table. */
#pragma once

#include <jansson.h>
#include <stddef.h>

enum field_type {
    FIELD_BOOL,   /* bool */
    FIELD_U64,    /* uint64_t; a JSON integer from 0 to 2^63-1 */
    FIELD_I64,    /* int64_t */
    FIELD_REAL,   /* double */
    FIELD_STRING, /* const char *; decoded: borrowed from the JSON, NULL if absent */
    FIELD_OBJECT, /* an embedded struct, described by `fields` */
    FIELD_JSON, /* json_t *; decoded: borrowed, NULL if absent; encoded: a new reference is kept */
    FIELD_OBJECTS, /* struct field_array of structs, each described by `fields`; only encoded */
    FIELD_NUMBERS  /* struct field_array of uint64_t; only encoded */
};

struct field_array {
    const void *items; /* borrowed; may be NULL if there are none */
    size_t n_items, item_bytes;
};

enum field_flags {
    FIELD_REQUIRED = 1 << 0, /* decoding fails if it is absent */
    FIELD_NULLABLE = 1 << 1  /* encoding leaves out NULL strings and JSON, U64s of
                                UINT64_MAX, and negative REALs */
};

struct field {
    const char *key;
    enum field_type type;
    size_t offset;
    unsigned flags;
    const struct field *fields; /* FIELD_OBJECT, FIELD_OBJECTS: ends with a NULL key */
};

/* Decodes `object` (NULL and JSON null count as {}) into the zero-initialised struct `ret`. If a
 * key is absent or null, its member does not change, so that the caller can set defaults
 * beforehand. Strings must not have a NUL. 0, or -EINVAL with the first missing, unknown, wrongly
 * typed or out-of-range key in `ret_key` (borrowed from the table or the object). */
int fields_decode(const struct field *fields, json_t *object, void *ret, const char **ret_key);

/* A new object, or NULL when out of memory. A U64 above 2^63-1 is encoded as 2^63-1. */
json_t *fields_encode(const struct field *fields, const void *source);

/* Encodes directly into a malloc'ed compact text, between `before` and `after`, without making JSON
 * values. The text takes no more memory than its length needs. 0 or -ENOMEM. */
int fields_format(const struct field *fields, const void *source, const char *before,
                  const char *after, char **ret_text, size_t *ret_bytes);
