/* The table of options: for each its name, the form of its value, the allowed values, and its
 * member of struct config. Read-only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option {
    const char *name;
    /* Sets the member that `ret` points to. On failure the member does not change. Returns 0,
     * -EINVAL, -ERANGE or -ENOMEM. */
    int (*parse)(const struct option *option, const char *text, void *ret);
    size_t offset, size;      /* in struct config */
    const char *default_text; /* NULL: not set */
    uint64_t min, max;        /* of a number, in bytes or usec; of a string's length */
    bool reloadable;
    const char *value;   /* for --help; for a choice, its words in the order of their enum */
    const char *allowed; /* for an error message; NULL: one of the words in `value` */
    const char *help;
};

enum { N_OPTIONS = 20 };
extern const struct option options[N_OPTIONS];

/* Finds an option by the first `length` bytes of `name`. Returns NULL if there is none. */
const struct option *option_find(const char *name, size_t length);

/* Whether the option's member is an owned char *. */
bool option_is_string(const struct option *option);

/* The number of single-letter edits between two names. It serves to guess which option a misspelt
 * name means. */
unsigned option_distance(const char *a, const char *b);
