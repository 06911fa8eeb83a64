/* A private daemon that makes decisions but holds no weights: `edgemindd --simulate` on a socket
 * pair. */
#pragma once

#include <sys/types.h>

struct simulation {
    pid_t pid;
    int fd; /* connected to it; the caller takes it over, and closing it ends the daemon */
};

/* `capacity` is a size as the daemon reads it. The program is looked for beside this one, in
 * ../sbin, and in PATH. 0; -ENOENT if it is nowhere; or another negative errno. */
int simulation_start(const char *capacity, struct simulation *ret);

/* Waits for its end, after `fd` was closed, and kills it if that takes too long. Its wait status.
 */
int simulation_end(struct simulation *simulation);
