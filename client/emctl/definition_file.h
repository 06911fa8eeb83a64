/* Finds and opens the file of a model. The daemon gets the descriptor, because it opens no files
 * for clients. */
#pragma once

#include <stddef.h>

/* Opens a regular file for reading. If a name has no '/' and is not in the current directory, looks
 * for it in $EDGEMIND_PATH (directories separated by ':'; default /usr/share/edgemind/models).
 * Returns the descriptor, and the path of the file in `ret_path` (malloc'ed). Or returns a negative
 * errno: -ENOENT if there is no such file, -EISDIR or -EINVAL if it is not a regular file.
 * `ret_path` is then the path that failed, or for -ENOENT all paths that were tried, separated by
 * ", ". `ret_path` is NULL when out of memory. */
int definition_file_open(const char *name, char **ret_path);
