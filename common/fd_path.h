/* The path that a descriptor was opened by, as Linux shows it now (proc(5), /proc/PID/fd). */
#pragma once

#include <limits.h>

/* Fills `path`: an absolute path, followed by " (deleted)" if the file was deleted, or another
 * kernel's name, as "/memfd:NAME". Returns 0 or a negative errno; -ENAMETOOLONG if the path is
 * longer than PATH_MAX allows. */
int fd_path(int fd, char path[static PATH_MAX]);
