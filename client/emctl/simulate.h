/* A private daemon that makes decisions but holds no weights: `edgemindd --simulate` on a socket
 * pair. */
#pragma once

#include <sys/types.h>

struct simulation {
    pid_t pid;
    int fd; /* connected to the daemon; owned by the caller; closing it ends the daemon */
};

/* `capacity` is a size as the daemon reads it. Looks for edgemindd in emctl's own directory, in
 * ../sbin, and in PATH. 0; -ENOENT if there is none; or another negative errno. */
int simulation_start(const char *capacity, struct simulation *ret);

/* Waits until the daemon ends, after `fd` was closed. Kills it if that takes too long. Returns its
 * wait status. */
int simulation_end(struct simulation *simulation);
