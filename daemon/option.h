/* The table of options: what each is called, how its value is written, what is allowed, where it
 * goes in a struct config. Read-only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option {
    const char *name;
    /* Sets the member that `ret` points to; on failure it stays. 0, -EINVAL, -ERANGE or -ENOMEM. */
    int (*parse)(const struct option *option, const char *text, void *ret);
    size_t offset, size;      /* in struct config */
    const char *default_text; /* NULL: not set */
    uint64_t min, max;        /* of a number, in bytes or usec; of a string, its length */
    bool reloadable;
    const char *value;   /* for --help; of a choice its words, in their enum's order */
    const char *allowed; /* for an error; NULL: one of the words in `value` */
    const char *help;
};

enum { N_OPTIONS = 18 };
extern const struct option options[N_OPTIONS];

/* `name` need not end after `length` bytes. NULL if there is none. */
const struct option *option_find(const char *name, size_t length);

/* The member is an owned char *. */
bool option_is_string(const struct option *option);

/* Single-letter edits between two names, to guess what a misspelt one was meant to be. */
unsigned option_distance(const char *a, const char *b);
