/* Tokens of a JSON text that may be malformed. Allocates nothing. Thread-safe. */
#pragma once

#include <stddef.h>

struct json_limits {
    size_t max_bytes;
    size_t max_depth;  /* `[[1]]` has depth 2 */
    size_t max_values; /* a scalar and an object's key count as one, an array and an object as two,
                          because they take more memory */
    size_t max_string_bytes; /* in the text, with its quotes: jansson needs five times as much while
                                it reads one; 0: no limit of its own */
};

/* Where and why a text was refused. line and column count from 1; column is in bytes. */
struct json_problem {
    unsigned line;
    unsigned column;
    char message[160];
};

/* Moves `*offset` to the end of the next token and returns the token's start; n_bytes if there is
 * none. */
size_t json_next_token(const char *text, size_t n_bytes, size_t *offset);

/* Checks the limits. 0 with the length of the longest token; -E2BIG or -EBADMSG (a NUL byte), with
 * `problem` set. */
int json_scan(const char *text, size_t n_bytes, const struct json_limits *limits,
              size_t *ret_token_bytes, struct json_problem *problem);

/* The most memory that jansson takes for the text. */
size_t json_tree_bytes(const char *text, size_t n_bytes);

/* Sets the message, and the line and column of `offset`. */
void json_set_problem(struct json_problem *problem, const char *text, size_t offset,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));
