/* A file that is written whole or not at all: until then, and if that fails, if emctl is killed or
 * if the power fails, the old file stays, or none. What is no regular file, as a pipe, is written
 * as it comes. */
#pragma once

#include <stdio.h>

struct whole_file {
    FILE *stream;
    char *path,
        *temporary; /* temporary: beside the file, with another name; NULL: no regular file */
};

/* Returns 0, or a negative errno; then there is nothing to end. */
int whole_file_begin(const char *path, struct whole_file *ret);

/* Puts the file into its place, unless `error` (0 or a negative errno) says that it is not whole,
 * or something could not be written. Returns 0 or a negative errno. */
int whole_file_end(struct whole_file *file, int error);
