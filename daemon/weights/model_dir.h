/* The one place from which the daemon opens a path on a client's behalf. */
#pragma once

/* Opens the regular file `path` below `directory` for reading; nothing outside can be reached. A
 * descriptor, or a negative errno: -EINVAL (not a regular file), -EXDEV (the path is absolute or
 * contains ".."), -ELOOP (a part of it is a symbolic link), or what openat(2) says. */
int model_dir_open(const char *directory, const char *path);
