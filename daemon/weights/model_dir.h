/* The only function with which the daemon opens a path on a client's behalf. */
#pragma once

/* Opens the regular file `path` below `directory` for reading. It can reach no file outside of
 * `directory`. Returns a descriptor, or a negative errno: -EINVAL (not a regular file), -EXDEV (the
 * path is absolute or contains ".."), -ELOOP (a part of it is a symbolic link), or an errno of
 * openat(2). */
int model_dir_open(const char *directory, const char *path);
