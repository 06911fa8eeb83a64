/* Finding and opening the file that says what a model is. The daemon opens nothing on a client's
 * behalf: it gets the descriptor. */
#pragma once

#include <stddef.h>

/* Opens a regular file for reading. A name without '/' that is not in the current directory is
 * looked for in $EDGEMIND_PATH (directories with ':' between), by default
 * /usr/share/edgemind/models. A descriptor and, in `ret_path` (malloc'ed), what was opened. Or a
 * negative errno: -ENOENT if it is nowhere, -EISDIR or -EINVAL if it is no regular file; `ret_path`
 * then is where it failed, or for -ENOENT every path that was tried, with ", " between. NULL in it
 * when out of memory. */
int definition_file_open(const char *name, char **ret_path);
