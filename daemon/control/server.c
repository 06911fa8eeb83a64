/* Owns the listening sockets, the admission of peers, and the list of connections.
 *
 * Invariant: a connection is in `open` until it is closed, then in `closed` until what it held is
 * released, then in `ended` until it is freed. Only the reap event and server_free free
 * connections. Leaves to connection.c what a connection does, and to the interfaces what its calls
 * mean. */
#include "daemon/control/server.h"

#include "common/clock.h"
#include "daemon/control/dispatch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

enum { ACCEPT_BATCH = 16, ACCEPT_RETRY_USEC = 100 * 1000, REAP_USEC = 2000 };

TAILQ_HEAD(connections, connection);

struct listener {
    struct listener *next;
    struct server *server;
    int fd;
    struct event *event;
};

struct server {
    struct connection_host host;
    struct varlink_service service;
    struct server_limits limits;
    struct peer_rules rules;
    struct listener *listeners;
    struct connections open, closed, ended;
    uint64_t n_connections; /* in all lists */
    uint64_t n_refused;
    int spare_fd; /* closed to accept a peer, and hang up on it, when no other descriptor is free */
    struct event *reap;
    struct event *retry; /* listens again after a pause */
    void (*adopted_end)(void *context);
    void *adopted_end_context;
};

static void on_closed(struct connection *connection, void *context)
{
    struct server *server = context;

    rounds_end(&connection->participant);
    TAILQ_REMOVE(&server->open, connection, entry);
    TAILQ_INSERT_TAIL(&server->closed, connection, entry);
    event_active(server->reap, EV_TIMEOUT, 1);
}

/* Ends the next closed connection. Its `cancelled` hook may close other connections. */
static bool end_next(struct server *server)
{
    struct connection *connection = TAILQ_FIRST(&server->closed);

    if (!connection)
        return false;
    TAILQ_REMOVE(&server->closed, connection, entry);
    TAILQ_INSERT_TAIL(&server->ended, connection, entry);
    connection_end(connection);
    if (connection->adopted && server->adopted_end)
        server->adopted_end(server->adopted_end_context);
    return true;
}

/* Frees a portion of the next ended connection: a peer chose how many replies it left unread. */
static bool free_next(struct server *server)
{
    struct connection *connection = TAILQ_FIRST(&server->ended);

    if (!connection)
        return false;
    TAILQ_REMOVE(&server->ended, connection, entry);
    if (connection_free(connection))
        server->n_connections--;
    else
        TAILQ_INSERT_HEAD(&server->ended, connection, entry);
    return true;
}

/* If there is much to end and to free, the rest follows in later turns. */
static void on_reap(evutil_socket_t fd, short what, void *context)
{
    struct server *server = context;
    uint64_t end_usec = clock_monotonic_usec() + REAP_USEC;
    (void)fd;
    (void)what;

    while (end_next(server) || free_next(server)) {
        if (clock_monotonic_usec() >= end_usec) {
            if (event_add(server->reap, &(struct timeval){0}) < 0)
                event_active(server->reap, EV_TIMEOUT, 1);
            break;
        }
    }
}

/* One turn, and what it ended: whoever comes next finds it gone. */
static void serve(struct participant *participant)
{
    struct server *server = connection_of(participant)->host->context;

    connection_serve(participant);
    while (end_next(server) && !rounds_time_is_up(server->host.rounds))
        ;
}

static bool has_place(const struct server *server, uid_t uid)
{
    uint64_t n_places = server->limits.max_connections;

    if (uid == 0) {
        if (__builtin_add_overflow(n_places, SERVER_ROOT_CONNECTIONS, &n_places))
            n_places = UINT64_MAX;
        return server->n_connections < n_places;
    }
    return server->n_connections < n_places &&
           rounds_n_open(server->host.rounds, uid) < server->limits.max_connections_per_user;
}

/* Takes a connected, non-blocking socket. Returns 0, -EUSERS (no place) or another negative
 * errno. */
static int add_connection(struct server *server, int fd, bool adopted)
{
    _cleanup_(closep) int owned = fd;
    struct connection *connection;
    struct peer peer;

    int r = peer_read(fd, &server->rules, &peer);
    if (r < 0)
        return r;
    if (!adopted && !has_place(server, peer.uid))
        return -EUSERS;
    /* The kernel doubles it. If it refuses, its default stays. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SERVER_SEND_BUFFER_BYTES / 2}, sizeof(int));
    r = connection_new(&server->host, TAKE_FD(owned), &peer, &connection);
    if (r < 0)
        return r;
    connection->adopted = adopted;
    TAILQ_INSERT_TAIL(&server->open, connection, entry);
    server->n_connections++;
    return 0;
}

static void open_spare(struct server *server)
{
    if (server->spare_fd < 0)
        server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Accepts one peer with the spare descriptor, and hangs up on it. */
static bool shed(struct server *server, int listening_fd)
{
    if (server->spare_fd < 0)
        return false;
    close(TAKE_FD(server->spare_fd));
    int fd = accept4(listening_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    open_spare(server);
    return fd >= 0;
}

/* When accept fails because a resource is missing, a level-triggered event would spin. */
static void pause_listening(struct server *server)
{
    for (struct listener *listener = server->listeners; listener; listener = listener->next)
        event_del(listener->event);
    event_add(server->retry, &(struct timeval){.tv_usec = ACCEPT_RETRY_USEC});
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    struct server *server = context;
    (void)fd;
    (void)what;

    open_spare(server);
    for (struct listener *listener = server->listeners; listener; listener = listener->next)
        event_add(listener->event, NULL);
}

static void on_accept(evutil_socket_t fd, short what, void *context)
{
    struct server *server = ((struct listener *)context)->server;
    (void)what;

    for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
        int peer_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer_fd >= 0) {
            if (add_connection(server, peer_fd, false) < 0)
                server->n_refused++;
        } else if (errno == EMFILE || errno == ENFILE) {
            if (!shed(server, fd)) {
                pause_listening(server);
                return;
            }
            server->n_refused++;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN)
                pause_listening(server);
            return;
        }
    }
}

int server_new(struct event_base *base, const struct interface *interfaces,
               const struct server_info *info, struct server **ret)
{
    struct server *server = calloc(1, sizeof *server);

    if (!server)
        return -ENOMEM;
    TAILQ_INIT(&server->open);
    TAILQ_INIT(&server->closed);
    TAILQ_INIT(&server->ended);
    server->service = (struct varlink_service){info, interfaces};
    server->host = (struct connection_host){.base = base,
                                            .interfaces = interfaces,
                                            .service = varlink_service_interface(&server->service),
                                            .stall_usec = SERVER_STALL_USEC,
                                            .dispatch = dispatch,
                                            .closed = on_closed,
                                            .context = server};
    server->limits =
        (struct server_limits){SERVER_CONNECTIONS_DEFAULT, SERVER_CONNECTIONS_PER_USER_DEFAULT};
    server->rules = (struct peer_rules){(gid_t)-1, (gid_t)-1};
    server->spare_fd = -1;
    server->reap = event_new(base, -1, 0, on_reap, server);
    server->retry = event_new(base, -1, 0, on_retry, server);
    if (!server->reap || !server->retry ||
        rounds_new(base, ROUND_USEC, serve, &server->host.rounds) < 0) {
        server_free(server);
        return -ENOMEM;
    }
    open_spare(server);
    if (server->spare_fd < 0) {
        int error = -errno;
        server_free(server);
        return error;
    }
    *ret = server;
    return 0;
}

static void listener_free(struct listener *listener)
{
    if (listener->event)
        event_free(listener->event);
    close(listener->fd);
    free(listener);
}

struct server *server_free(struct server *server)
{
    if (!server)
        return NULL;
    while (server->listeners) {
        struct listener *listener = server->listeners;
        server->listeners = listener->next;
        listener_free(listener);
    }
    while (!TAILQ_EMPTY(&server->open))
        connection_close(TAILQ_FIRST(&server->open));
    while (end_next(server) || free_next(server))
        ;
    rounds_free(server->host.rounds);
    if (server->reap)
        event_free(server->reap);
    if (server->retry)
        event_free(server->retry);
    if (server->spare_fd >= 0)
        close(server->spare_fd);
    free(server);
    return NULL;
}

void server_set_limits(struct server *server, const struct server_limits *limits)
{
    server->limits = *limits;
}

void server_set_rules(struct server *server, const struct peer_rules *rules)
{
    server->rules = *rules;
}

void server_set_pending_limit(struct server *server, uint64_t limit_bytes)
{
    rounds_set_limit(server->host.rounds, limit_bytes);
}

void server_count_unread(struct server *server, _Atomic uint64_t *n_bytes)
{
    rounds_count_unread(server->host.rounds, n_bytes);
}

void server_set_stall(struct server *server, uint64_t stall_usec)
{
    server->host.stall_usec = stall_usec;
}

static int prepare_socket(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

int server_listen(struct server *server, int fd)
{
    _cleanup_(closep) int owned = fd;
    int accepts;
    socklen_t n_bytes = sizeof accepts;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &n_bytes) < 0)
        return -errno;
    if (!accepts)
        return -EINVAL;
    int r = prepare_socket(fd);
    if (r < 0)
        return r;

    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    listener->server = server;
    listener->fd = TAKE_FD(owned);
    listener->event = event_new(server->host.base, fd, EV_READ | EV_PERSIST, on_accept, listener);
    if (!listener->event || event_add(listener->event, NULL) < 0) {
        listener_free(listener);
        return -ENOMEM;
    }
    listener->next = server->listeners;
    server->listeners = listener;
    return 0;
}

int server_adopt(struct server *server, int fd)
{
    int r = prepare_socket(fd);

    if (r < 0) {
        close(fd);
        return r;
    }
    return add_connection(server, fd, true);
}

void server_on_adopted_end(struct server *server, void (*ended)(void *context), void *context)
{
    server->adopted_end = ended;
    server->adopted_end_context = context;
}

const struct histogram *server_call_times(const struct server *server, bool deferred)
{
    return &server->host.call_times[deferred];
}

void server_get_stats(const struct server *server, struct server_stats *ret)
{
    *ret = (struct server_stats){.n_connections = server->n_connections,
                                 .n_requests = server->host.n_requests,
                                 .n_errors = server->host.n_errors,
                                 .n_refused = server->n_refused};
}
