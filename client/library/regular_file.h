/* Opens regular files, and nothing else. */
#pragma once

/* Returns a descriptor for reading `path`, or a negative errno: -EISDIR or -EINVAL if it is not a
 * regular file. Never waits. */
int regular_file_open(const char *path);
