/* The daemon of another host: ssh runs `emctl bridge` there, which connects its standard input and
 * output to the daemon's socket. EdgeMind opens no port of its own, and ssh decides who may. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct remote {
    pid_t pid; /* of ssh; 0: none */
    char *host;
};

enum { REMOTE_CONNECT_SECONDS = 10 };

/* Starts ssh to `host` ([USER@]HOST). `socket` is the daemon's there; NULL: its default. If
 * `unattended`, ssh asks for no password. ssh writes messages to `error_fd` (borrowed). `ret_fd`
 * is the connection. 0 or a negative errno. */
int remote_start(struct remote *remote, const char *host, const char *socket, bool unattended,
                 int error_fd, int *ret_fd);

/* Ends ssh, after the caller has closed the connection. Does nothing if there is none. */
void remote_end(struct remote *remote);

/* The connection broke: waits a moment for ssh to end by itself. Returns what waitpid says;
 * 0 if there is no ssh. */
int remote_wait(struct remote *remote);

/* The connection broke with `error` (negative). Waits a moment for ssh to end, writes a
 * message, and returns the exit code. */
int remote_report(struct remote *remote, int error);

/* What the status of ssh means, in a few words, or NULL if it means nothing. */
const char *remote_failure(int status);
