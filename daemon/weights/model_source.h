/* Where a model comes from: a definition, an index or a weight file, and the weight files that came
 * with it. Also the result of reading it. */
#pragma once

#include "common/passed_fd.h"
#include "daemon/scheduler/model.h"
#include "daemon/system/memory_gate.h"

/* A weight file that came with the call. */
struct named_fd {
    char *path; /* owned */
    int fd;     /* owned; -1 after it was used */
};

/* It owns all that it refers to. Exactly one of text, fd and path gives the model. */
struct model_source {
    char *text;
    size_t n_bytes;
    int fd;          /* -1: none */
    char *path;      /* below model_dir */
    char *model_dir; /* only with `path`; weight files are opened beside it */
    char *name;      /* the model's name, if the source has none; may be NULL */
    struct named_fd *weights;
    size_t n_weights;
    uint64_t unit_bytes;    /* see weights.h; 0: no layer is cut */
    struct memory_use *use; /* owned; NULL: no bound */
    /* Who passed the descriptors, if the call still has them counted. Loop thread only. */
    struct passed_fd_owner *owner;
};

#define MODEL_SOURCE_NONE ((struct model_source){.fd = -1})

void model_source_done(struct model_source *source);

struct model_read_result {
    struct definition *definition;     /* a new reference, with its weight files open */
    struct model *model;               /* of that definition, if it is asked for; not registered */
    struct memory_use *use;            /* of the memory that they take; or NULL */
    struct definition_problem problem; /* set with -EBADMSG */
    const char *operation;             /* set with other errors: "open", "read"; static storage */
    bool is_abandoned;                 /* with -ETIMEDOUT: a thread still waits for a file */
};
