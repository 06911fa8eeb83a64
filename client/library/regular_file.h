/* Opening what must be a file with bytes in it. */
#pragma once

/* A descriptor for reading `path`, or a negative errno: -EISDIR or -EINVAL if it is no regular
 * file. Never waits. */
int regular_file_open(const char *path);
