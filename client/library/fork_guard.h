/* Sockets that belong to the process that opened them. fork() copies descriptors. Without this
 * guard a child could send on its parent's connection. Its copy would also keep the connection open
 * after the parent has died, and with it the parent's leases. */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

struct guarded_socket {
    LIST_ENTRY(guarded_socket) entry;
    int fd; /* -1: none, or closed in a child */
    ino_t inode;
    pid_t pid;
};

/* Takes ownership of the descriptor. Every child that is forked later closes its copy. The struct
 * must not move until guarded_socket_done. */
void guarded_socket_init(struct guarded_socket *guarded, int fd);
void guarded_socket_done(struct guarded_socket *guarded); /* closes it */

/* Whether this process is a child of the one that opened the socket. */
bool guarded_socket_is_parents(const struct guarded_socket *guarded);
