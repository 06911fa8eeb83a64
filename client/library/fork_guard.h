/* Sockets that belong to the process that opened them. fork() copies descriptors: without this a
 * child could send on its parent's connection, and by its copy keep the connection, and with it the
 * leases of a parent that has died. */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

struct guarded_socket {
    LIST_ENTRY(guarded_socket) entry;
    int fd; /* -1: none, or closed in a child */
    pid_t pid;
};

/* Takes the descriptor. It is closed in every child that is forked from here on. The struct must
 * not move until guarded_socket_done. */
void guarded_socket_init(struct guarded_socket *guarded, int fd);
void guarded_socket_done(struct guarded_socket *guarded); /* closes it */

/* Whether this process is a child of the one that opened the socket. */
bool guarded_socket_is_parents(const struct guarded_socket *guarded);
