/* Reads values and makes the messages for refusals. This file defines what a size, a name or a
 * shape is; the callers decide which key has which of them. */
#include "common/definition/definition_value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends the path to `text` and returns its length, which may exceed `size` as snprintf's does. */
static size_t append_path(const struct place *place, char *text, size_t size)
{
    if (!place)
        return 0;
    size_t used = append_path(place->parent, text, size);
    char *end = used < size ? text + used : NULL;
    size_t room = used < size ? size - used : 0;
    int n = place->key ? snprintf(end, room, "%s%s", place->parent ? "." : "", place->key)
                       : snprintf(end, room, "[%zu]", place->index);
    return n < 0 ? used : used + (size_t)n;
}

int definition_refuse(struct definition_problem *problem, const struct place *place,
                      const char *format, ...)
{
    char *path = problem->path;
    va_list arguments;

    problem->line = problem->column = 0;
    path[0] = '\0';
    if (append_path(place, path, sizeof problem->path) >= sizeof problem->path) {
        /* Cut between characters. */
        size_t end = sizeof problem->path - sizeof "...";
        while (end > 0 && ((unsigned char)path[end] & 0xc0) == 0x80)
            end--;
        memcpy(path + end, "...", sizeof "...");
    }
    /* An unknown key may have any characters. */
    for (char *p = path; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';

    va_start(arguments, format);
    vsnprintf(problem->message, sizeof problem->message, format, arguments);
    va_end(arguments);
    return -EBADMSG;
}

static const struct value_key *find_key(const struct value_table *tables, size_t n_tables,
                                        const char *name, void **ret_target)
{
    for (size_t i = 0; i < n_tables; i++)
        for (const struct value_key *key = tables[i].keys; key->name; key++)
            if (strcmp(key->name, name) == 0) {
                *ret_target =
                    key->offset == VALUE_CHECKED ? NULL : (char *)tables[i].ret + key->offset;
                return key;
            }
    return NULL;
}

int value_object(json_t *value, const struct place *place, const struct value_table *tables,
                 size_t n_tables, struct definition_problem *problem)
{
    const char *name;
    json_t *member;

    if (!json_is_object(value))
        return definition_refuse(problem, place, "must be an object");
    json_object_foreach (value, name, member) {
        struct place here = {.parent = place, .key = name};
        struct value_shape unkept; /* the largest that a reader stores */
        void *target;
        const struct value_key *key = find_key(tables, n_tables, name, &target);
        if (!key)
            return definition_refuse(problem, &here, "unknown key");
        int r = key->read(member, &here, target ? target : &unkept, problem);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < n_tables; i++)
        for (const struct value_key *key = tables[i].keys; key->name; key++)
            if (key->required && !json_object_get(value, key->name)) {
                struct place here = {.parent = place, .key = key->name};
                return definition_refuse(problem, &here, "is missing");
            }
    return 0;
}

int value_size(json_t *value, const struct place *place, void *ret,
               struct definition_problem *problem)
{
    if (!json_is_integer(value) || json_integer_value(value) <= 0)
        return definition_refuse(problem, place, "must be a positive integer");
    *(uint64_t *)ret = (uint64_t)json_integer_value(value);
    return 0;
}

int value_count(json_t *value, const struct place *place, void *ret,
                struct definition_problem *problem)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return definition_refuse(problem, place, "must be an integer of at least 0");
    *(uint64_t *)ret = (uint64_t)json_integer_value(value);
    return 0;
}

int value_bool(json_t *value, const struct place *place, void *ret,
               struct definition_problem *problem)
{
    if (!json_is_boolean(value))
        return definition_refuse(problem, place, "must be true or false");
    *(bool *)ret = json_is_true(value);
    return 0;
}

int value_number(json_t *value, const struct place *place, void *ret,
                 struct definition_problem *problem)
{
    if (!json_is_number(value))
        return definition_refuse(problem, place, "must be a number");
    *(double *)ret = json_number_value(value);
    return 0;
}

int value_string(json_t *value, const struct place *place, void *ret,
                 struct definition_problem *problem)
{
    if (!json_is_string(value))
        return definition_refuse(problem, place, "must be a string");
    *(const char **)ret = json_string_value(value);
    return 0;
}

int value_name(json_t *value, const struct place *place, void *ret,
               struct definition_problem *problem)
{
    int r = value_string(value, place, ret, problem);
    if (r < 0)
        return r;
    size_t n = json_string_length(value);
    if (n == 0 || n > DEFINITION_NAME_MAX)
        return definition_refuse(problem, place, "must have 1 to %d bytes", DEFINITION_NAME_MAX);
    for (const unsigned char *p = (const unsigned char *)json_string_value(value); *p; p++)
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0)) /* U+0080 to U+009F */
            return definition_refuse(problem, place, "must not contain control characters");
    return 0;
}

int value_dtype(json_t *value, const struct place *place, void *ret,
                struct definition_problem *problem)
{
    if (!json_is_string(value) || dtype_parse(json_string_value(value), ret) < 0)
        return definition_refuse(problem, place, "unknown dtype");
    return 0;
}

int value_array(json_t *value, const struct place *place, void *ret,
                struct definition_problem *problem)
{
    if (!json_is_array(value))
        return definition_refuse(problem, place, "must be an array");
    *(json_t **)ret = value;
    return 0;
}

int value_shape(json_t *value, const struct place *place, void *ret,
                struct definition_problem *problem)
{
    struct value_shape shape = {.n_dims = 0};

    if (!json_is_array(value))
        return definition_refuse(problem, place, "must be an array of integers");
    if (json_array_size(value) > DEFINITION_RANK_MAX)
        return definition_refuse(problem, place, "must have at most %d dimensions",
                                 DEFINITION_RANK_MAX);
    for (; shape.n_dims < json_array_size(value); shape.n_dims++) {
        struct place here = {.parent = place, .index = shape.n_dims};
        int r = value_size(json_array_get(value, shape.n_dims), &here, &shape.sizes[shape.n_dims],
                           problem);
        if (r < 0)
            return r;
    }
    *(struct value_shape *)ret = shape;
    return 0;
}
