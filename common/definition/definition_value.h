/* Reads a definition's JSON values into plain structs, and checks them. Each refusal has the place
 * of the value. */
#pragma once

#include "common/definition/definition.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The place of a value: an object's key, or an array's index if `key` is NULL. Places are on the
 * stacks of the functions that descend into the document; only a refusal turns them into text. NULL
 * is the whole document. */
struct place {
    const struct place *parent;
    const char *key;
    size_t index;
};

/* Fills `problem` with the place's path and the message. Returns -EBADMSG. */
int definition_refuse(struct definition_problem *problem, const struct place *place,
                      const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Checks `value` and stores it in `ret`. 0 or -EBADMSG with `problem` set. */
typedef int value_reader(json_t *value, const struct place *place, void *ret,
                         struct definition_problem *problem);

/* An object's key, and the member of a struct for its value. A table ends with a NULL name. */
struct value_key {
    const char *name;
    value_reader *read;
    size_t offset; /* VALUE_CHECKED: the value is checked but not kept */
    bool required;
};
#define VALUE_CHECKED SIZE_MAX

struct value_table {
    const struct value_key *keys;
    void *ret;
};

/* Reads an object whose keys are in the tables; no key is in both. If a key is absent, its member
 * does not change. */
int value_object(json_t *value, const struct place *place, const struct value_table *tables,
                 size_t n_tables, struct definition_problem *problem);

struct value_shape {
    uint64_t sizes[DEFINITION_RANK_MAX];
    unsigned n_dims;
};

value_reader value_size;   /* uint64_t: an integer from 1 */
value_reader value_count;  /* uint64_t: an integer from 0 */
value_reader value_bool;   /* bool */
value_reader value_number; /* double */
value_reader value_string; /* const char *, borrowed */
value_reader value_name;   /* const char *, borrowed: 1 to DEFINITION_NAME_MAX bytes, no controls */
value_reader value_dtype;  /* dtype */
value_reader value_array;  /* json_t *, borrowed */
value_reader value_shape;  /* struct value_shape: an array of sizes, [] for a scalar */
