/* Where a model comes from: a definition, an index or a weight file, and the weight files that came
 * with it; and what comes of reading it. */
#pragma once

#include "common/definition/definition.h"

/* A weight file that came with the call. */
struct named_fd {
    char *path; /* owned */
    int fd;     /* owned; -1 once used */
};

/* Everything is owned. Exactly one of text, fd and path says what the model is. */
struct model_source {
    char *text;
    size_t n_bytes;
    int fd;          /* -1: none */
    char *path;      /* below model_dir */
    char *model_dir; /* with `path` only: weight files are opened beside it */
    char *name;      /* for a source that bears none; may be NULL */
    struct named_fd *weights;
    size_t n_weights;
};

#define MODEL_SOURCE_NONE ((struct model_source){.fd = -1})

void model_source_done(struct model_source *source);

struct model_read_result {
    struct definition *definition;     /* a new reference, with its weight files open */
    struct definition_problem problem; /* -EBADMSG */
    const char *operation;             /* other errors: "open", "read"; static storage */
};
