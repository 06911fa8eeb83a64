/* Converts JSON objects to plain structs and back, by table.
 *
 * Decoding copies and allocates nothing: strings and JSON values are borrowed. The struct is
 * written member by member, so after a failure it may be incomplete. The methods interpret the
 * values. */
#include "proto/fields.h"

#include "common/json_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int decode_value(const struct field *field, json_t *value, void *member,
                        const char **ret_key)
{
    switch (field->type) {
    case FIELD_BOOL:
        if (!json_is_boolean(value))
            break;
        *(bool *)member = json_is_true(value);
        return 0;
    case FIELD_U64:
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            break;
        *(uint64_t *)member = (uint64_t)json_integer_value(value);
        return 0;
    case FIELD_I64:
        if (!json_is_integer(value))
            break;
        *(int64_t *)member = json_integer_value(value);
        return 0;
    case FIELD_REAL:
        if (!json_is_number(value))
            break;
        *(double *)member = json_number_value(value);
        return 0;
    case FIELD_STRING:
        if (!json_is_string(value) ||
            memchr(json_string_value(value), '\0', json_string_length(value)))
            break;
        *(const char **)member = json_string_value(value);
        return 0;
    case FIELD_OBJECT:
        if (!json_is_object(value))
            break;
        return fields_decode(field->fields, value, member, ret_key);
    case FIELD_JSON:
        *(json_t **)member = value;
        return 0;
    case FIELD_OBJECTS:
    case FIELD_NUMBERS:
        assert(false);
        break;
    }
    *ret_key = field->key;
    return -EINVAL;
}

static bool knows(const struct field *fields, const char *key)
{
    for (const struct field *field = fields; field->key; field++)
        if (strcmp(field->key, key) == 0)
            return true;
    return false;
}

int fields_decode(const struct field *fields, json_t *object, void *ret, const char **ret_key)
{
    const char *key;
    json_t *value;

    json_object_foreach (object, key, value) {
        if (!knows(fields, key)) {
            *ret_key = key;
            return -EINVAL;
        }
    }
    for (const struct field *field = fields; field->key; field++) {
        value = json_object_get(object, field->key);
        if (!value || json_is_null(value)) {
            if (!(field->flags & FIELD_REQUIRED))
                continue;
            *ret_key = field->key;
            return -EINVAL;
        }
        int r = decode_value(field, value, (char *)ret + field->offset, ret_key);
        if (r < 0)
            return r;
    }
    return 0;
}

static json_int_t bounded(uint64_t number)
{
    return number > INT64_MAX ? INT64_MAX : (json_int_t)number;
}

static const void *item_of(const struct field_array *array, size_t index)
{
    return (const char *)array->items + index * array->item_bytes;
}

static json_t *encode_array(const struct field *field, const struct field_array *array)
{
    json_t *json = json_array();

    for (size_t i = 0; json && i < array->n_items; i++) {
        const void *item = item_of(array, i);
        json_t *value = field->type == FIELD_OBJECTS
                            ? fields_encode(field->fields, item)
                            : json_integer(bounded(*(const uint64_t *)item));
        if (json_array_append_new(json, value) < 0) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

/* A new reference, or NULL. */
static json_t *encode_value(const struct field *field, const void *member)
{
    switch (field->type) {
    case FIELD_BOOL:
        return json_boolean(*(const bool *)member);
    case FIELD_U64:
        return json_integer(bounded(*(const uint64_t *)member));
    case FIELD_I64:
        return json_integer(*(const int64_t *)member);
    case FIELD_REAL:
        return json_real(*(const double *)member);
    case FIELD_STRING:
        return json_string(*(const char *const *)member);
    case FIELD_OBJECT:
        return fields_encode(field->fields, member);
    case FIELD_JSON:
        return json_incref(*(json_t *const *)member);
    case FIELD_OBJECTS:
    case FIELD_NUMBERS:
        return encode_array(field, member);
    }
    assert(false);
    return NULL;
}

static bool is_absent(const struct field *field, const void *member)
{
    if (!(field->flags & FIELD_NULLABLE))
        return false;
    switch (field->type) {
    case FIELD_U64:
        return *(const uint64_t *)member == UINT64_MAX;
    case FIELD_REAL:
        return *(const double *)member < 0;
    case FIELD_STRING:
        return !*(const char *const *)member;
    case FIELD_JSON:
        return !*(json_t *const *)member;
    default:
        return false;
    }
}

json_t *fields_encode(const struct field *fields, const void *source)
{
    uint64_t n_failures = json_memory_failures();
    json_t *object = json_object();

    if (!object)
        return NULL;
    for (const struct field *field = fields; field->key; field++) {
        const void *member = (const char *)source + field->offset;

        if (is_absent(field, member))
            continue;
        if (json_object_set_new_nocheck(object, field->key, encode_value(field, member)) < 0) {
            json_decref(object);
            return NULL;
        }
    }
    if (json_memory_failures() == n_failures)
        return object;
    json_decref(object); /* it may lack bytes */
    return NULL;
}

/* A text under construction. Appending returns 0 or -1 when out of memory. */
struct text {
    char *bytes;
    size_t n_bytes, n_allocated;
};

/* Makes room for `n_bytes` more and the NUL at the end. */
static int reserve(struct text *text, size_t n_bytes)
{
    size_t n_allocated;

    if (n_bytes < text->n_allocated - text->n_bytes)
        return 0;
    if (__builtin_add_overflow(text->n_bytes, n_bytes, &n_allocated) ||
        __builtin_mul_overflow(n_allocated, 2, &n_allocated))
        return -1;
    if (n_allocated < 1024)
        n_allocated = 1024;
    char *larger = realloc(text->bytes, n_allocated);
    if (!larger)
        return -1;
    text->bytes = larger;
    text->n_allocated = n_allocated;
    return 0;
}

static int append(const char *bytes, size_t n_bytes, void *context)
{
    struct text *text = context;

    if (reserve(text, n_bytes) < 0)
        return -1;
    memcpy(text->bytes + text->n_bytes, bytes, n_bytes);
    text->n_bytes += n_bytes;
    return 0;
}

/* Takes ownership of `value`. */
static int append_json(struct text *text, json_t *value)
{
    int r = json_dump_callback(value, append, text, JSON_COMPACT | JSON_ENCODE_ANY);

    json_decref(value);
    return r;
}

static int append_integer(struct text *text, json_int_t number)
{
    char digits[24], *first = digits + sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

    do {
        *--first = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0)
        *--first = '-';
    return append(first, (size_t)(digits + sizeof digits - first), text);
}

/* Most strings need no escapes. For all others jansson makes the escapes and checks the UTF-8. */
static int append_string(struct text *text, const char *string)
{
    size_t n_bytes = 0;

    if (!string)
        return -1;
    for (; string[n_bytes]; n_bytes++) {
        unsigned char c = (unsigned char)string[n_bytes];
        if (c < ' ' || c >= 0x7f || c == '"' || c == '\\')
            return append_json(text, json_string(string));
    }
    if (append("\"", 1, text) < 0 || append(string, n_bytes, text) < 0)
        return -1;
    return append("\"", 1, text);
}

static int append_object(struct text *text, const struct field *fields, const void *source);

static int append_array(struct text *text, const struct field *field,
                        const struct field_array *array)
{
    if (append("[", 1, text) < 0)
        return -1;
    for (size_t i = 0; i < array->n_items; i++) {
        const void *item = item_of(array, i);
        if (i > 0 && append(",", 1, text) < 0)
            return -1;
        if (field->type == FIELD_OBJECTS
                ? append_object(text, field->fields, item) < 0
                : append_integer(text, bounded(*(const uint64_t *)item)) < 0)
            return -1;
    }
    return append("]", 1, text);
}

static int append_value(struct text *text, const struct field *field, const void *member)
{
    switch (field->type) {
    case FIELD_BOOL:
        return *(const bool *)member ? append("true", 4, text) : append("false", 5, text);
    case FIELD_U64:
        return append_integer(text, bounded(*(const uint64_t *)member));
    case FIELD_I64:
        return append_integer(text, *(const int64_t *)member);
    case FIELD_STRING:
        return append_string(text, *(const char *const *)member);
    case FIELD_OBJECT:
        return append_object(text, field->fields, member);
    case FIELD_OBJECTS:
    case FIELD_NUMBERS:
        return append_array(text, field, member);
    case FIELD_REAL:
    case FIELD_JSON:
        return append_json(text, encode_value(field, member));
    }
    assert(false);
    return -1;
}

/* Keys come from the tables, so they need no escapes. */
static int append_key(struct text *text, char separator, const char *key)
{
    size_t n_bytes = strlen(key);

    if (reserve(text, n_bytes + 4) < 0)
        return -1;
    char *end = text->bytes + text->n_bytes;
    *end++ = separator;
    *end++ = '"';
    memcpy(end, key, n_bytes);
    end += n_bytes;
    *end++ = '"';
    *end++ = ':';
    text->n_bytes += n_bytes + 4;
    return 0;
}

static int append_object(struct text *text, const struct field *fields, const void *source)
{
    char separator = '{';

    for (const struct field *field = fields; field->key; field++) {
        const void *member = (const char *)source + field->offset;

        if (is_absent(field, member))
            continue;
        if (append_key(text, separator, field->key) < 0 || append_value(text, field, member) < 0)
            return -1;
        separator = ',';
    }
    return separator == '{' ? append("{}", 2, text) : append("}", 1, text);
}

int fields_format(const struct field *fields, const void *source, const char *before,
                  const char *after, char **ret_text, size_t *ret_bytes)
{
    struct text text = {0};
    uint64_t n_failures = json_memory_failures();

    if (append(before, strlen(before), &text) < 0 || append_object(&text, fields, source) < 0 ||
        append(after, strlen(after), &text) < 0 || json_memory_failures() != n_failures) {
        free(text.bytes);
        return -ENOMEM;
    }
    text.bytes[text.n_bytes] = '\0';
    /* A reply may wait for its peer: it takes no more than it needs. */
    char *exact = realloc(text.bytes, text.n_bytes + 1);
    *ret_text = exact ? exact : text.bytes;
    *ret_bytes = text.n_bytes;
    return 0;
}
