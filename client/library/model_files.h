/* The files of a model, opened for LoadModel and Plan: the main file (a definition, an index of
 * shards, or the weights themselves; the content decides which), and the weight files that it
 * names. */
#pragma once

#include "proto/frame.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct model_files {
    int fds[FRAME_FDS_MAX]; /* owned; the main file comes first */
    size_t n_fds;
    json_t *weights; /* [{"path", "fileDescriptor"}]; NULL: the main file names none */
    char *name;      /* the model's default name; NULL: a definition, which has its own name */
};

/* The file that could not be opened or read. Both strings are malloc'ed. */
struct model_files_failure {
    char *path;  /* NULL when out of memory */
    char *named; /* a weight file as the main file spells it; NULL: the main file failed */
};

/* Takes ownership of `fd`, the main file, which was opened from `path`; also on failure. Opens the
 * weight files that it names in the same directory, or the other parts of a split GGUF file.
 * `by_directory`: the caller named only the directory. Checks the content only as far as it needs
 * to; the daemon refuses the rest. 0; or a negative errno with the failure set: -EISDIR or -EINVAL
 * if a weight file is not a regular file, -E2BIG if there are more parts than a message can carry.
 */
int model_files_open(const char *path, int fd, bool by_directory, struct model_files *ret,
                     struct model_files_failure *ret_failure);
void model_files_done(struct model_files *files); /* a zeroed one is allowed */

/* `unitBytes` of LoadModel for programs that map the files. Views stream through places of the
 * largest unit's size, but each unit takes time of its own, and a view cannot hold more than some
 * thousand. */
uint64_t model_files_unit_bytes(const struct model_files *files);

/* Sets the model's name. 0; -EINVAL if it is a definition, which has its own name; -ENOMEM. */
int model_files_set_name(struct model_files *files, const char *name);
void model_files_failure_done(struct model_files_failure *failure);

/* Adds the parameters of LoadModel and Plan that describe the files. The caller sends the
 * descriptors with the message. 0 or -ENOMEM. */
int model_files_describe(const struct model_files *files, json_t *parameters);
