/* The one place from which the daemon opens a path on a client's behalf. */
#pragma once

/* Opens the regular file `path` below `directory` for reading; nothing outside can be reached, also
 * not through symbolic links or "..". A descriptor, or a negative errno (-EINVAL: not a regular
 * file). */
int model_dir_open(const char *directory, const char *path);
