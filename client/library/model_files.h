/* The files that a model consists of, opened for LoadModel and Plan: the one that says what it is
 * (a definition, an index of shards, or the weights themselves, told apart by content), and the
 * weight files that it names. */
#pragma once

#include "proto/frame.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct model_files {
    int fds[FRAME_FDS_MAX]; /* owned; the file that says what the model is comes first */
    size_t n_fds;
    json_t *weights; /* [{"path", "fileDescriptor"}]; NULL: it names none */
    char *name;      /* what the model is called by default; NULL: a definition, which has a name */
};

/* What could not be opened or read; both malloc'ed. */
struct model_files_failure {
    char *path;  /* NULL when out of memory */
    char *named; /* a weight file as it is spelled in the other; NULL: no other names it */
};

/* Takes `fd`, opened from `path`, also on failure, and opens what it names beside it, or the other
 * parts if it is one of a split GGUF file. `by_directory`: the caller named only its directory.
 * What the file says is checked only as far as this needs: the rest is the daemon's to refuse. 0;
 * or a negative errno with the failure set: -EISDIR or -EINVAL for a weight file that is no regular
 * file, -E2BIG for more parts than a message can carry. */
int model_files_open(const char *path, int fd, bool by_directory, struct model_files *ret,
                     struct model_files_failure *ret_failure);
void model_files_done(struct model_files *files); /* safe on a zeroed one */

/* What the model is to be called. 0; -EINVAL if it is a definition, which has a name; -ENOMEM. */
int model_files_set_name(struct model_files *files, const char *name);
void model_files_failure_done(struct model_files_failure *failure);

/* Adds what LoadModel and Plan call the files to `parameters`; the descriptors go with the message.
 * 0 or -ENOMEM. */
int model_files_describe(const struct model_files *files, json_t *parameters);
