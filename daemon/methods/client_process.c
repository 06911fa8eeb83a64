/* Owns a descriptor of the process, which never refers to another process that gets the same pid,
 * and two events: the process has ended, and its connection has lingered long enough. */
#include "daemon/methods/client_process.h"

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/control/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* since Linux 6.5 */
#endif

struct client_process {
    struct connection *connection; /* ends after the process */
    int fd;                        /* -1: the process had ended before it could be opened */
    struct event *ended, *lingered;
};

static void on_lingered(evutil_socket_t fd, short what, void *context)
{
    struct client_process *process = context;
    (void)fd;
    (void)what;
    log_notice(
        "process %d has ended, but another process still holds the connection of its leases: the "
        "connection ends",
        (int)process->connection->peer.pid);
    connection_close(process->connection);
}

static void on_ended(evutil_socket_t fd, short what, void *context)
{
    static const struct timeval linger = {.tv_usec = 0,
                                          .tv_sec = CLIENT_PROCESS_LINGER_USEC / 1000000};
    struct client_process *process = context;
    (void)fd;
    (void)what;
    event_add(process->lingered, &linger);
}

struct client_process *client_process_free(struct client_process *process)
{
    if (!process)
        return NULL;
    if (process->ended)
        event_free(process->ended);
    if (process->lingered)
        event_free(process->lingered);
    closep(&process->fd);
    free(process);
    return NULL;
}
DEFINE_CLEANUP(struct client_process *, client_process_free);

/* A descriptor of the process that made the connection; -ESRCH if it has ended; or another negative
 * errno. Before Linux 6.5 a process that has ended may be taken for a later one with its pid. */
static int open_process(const struct connection *connection)
{
    int fd;
    socklen_t n_bytes = sizeof fd;

    if (connection->peer.pid <= 0)
        return -ENOTSUP;
    if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &n_bytes) == 0)
        return fd;
    if (errno == EINVAL) /* up to Linux 6.15 */
        return -ESRCH;
    if (errno != ENOPROTOOPT)
        return -errno;
    fd = pidfd_open(connection->peer.pid, 0);
    return fd < 0 ? -errno : fd;
}

struct client_process *client_process_watch(struct event_base *base, struct call *call)
{
    int fd = open_process(call_connection(call));
    if (fd < 0 && fd != -ESRCH)
        return NULL;
    _cleanup_(client_process_freep) struct client_process *process = calloc(1, sizeof *process);
    if (!process) {
        closep(&fd);
        return NULL;
    }
    process->connection = call_connection(call);
    process->fd = fd;
    process->lingered = event_new(base, -1, 0, on_lingered, process);
    process->ended = event_new(base, fd, fd < 0 ? 0 : EV_READ, on_ended, process);
    if (!process->lingered || !process->ended || (fd >= 0 && event_add(process->ended, NULL) < 0))
        return NULL;
    if (fd < 0)
        on_ended(-1, 0, process);
    return TAKE_PTR(process);
}
