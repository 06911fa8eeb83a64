/* Owns the HTTP server and the number and age of its connections.
 *
 * libevent owns a connection, but tells of its end only after a request. So each slot keeps its
 * bufferevent alive; when libevent has freed the connection, the bufferevent has no callbacks any
 * more, and the slot gives it up. While all slots are in use, nobody is accepted.
 *
 * After each connection the listener rests. So many scrapers that come at once are spread over
 * time, and the loop is nearly always free for the control plane. */
#include "daemon/metrics/scrape_server.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum { SWEEP_USEC = 100 * 1000 };

struct slot {
    struct bufferevent *connection; /* a reference; NULL: free */
    uint64_t begun_usec;
    bool is_new, is_answered, is_cut;
};

LIST_HEAD(scrape_servers, scrape_server);

struct scrape_server {
    LIST_ENTRY(scrape_server) entry;
    struct evhttp *http;
    struct evconnlistener *listener; /* belongs to `http` */
    struct event *sweep, *rested;
    struct slot slots[SCRAPE_CONNECTIONS_MAX];
    size_t n_slots; /* in use */
    scrape_format format;
    void *context;
    uint64_t formatted_usec; /* monotonic; 0: never */
    int n_bytes;
    char text[SCRAPE_TEXT_BYTES_MAX];
};

/* All servers, because libevent tells on_accept_failed only the listener. Loop thread only. */
static struct scrape_servers servers;

/* libevent has freed the connection of this bufferevent. */
static bool is_over(const struct slot *slot)
{
    bufferevent_data_cb read_cb, write_cb;
    bufferevent_event_cb event_cb;
    bufferevent_getcb(slot->connection, &read_cb, &write_cb, &event_cb, NULL);
    return !read_cb && !write_cb && !event_cb;
}

/* libevent had no memory to read from a connection that it had just accepted, and has closed the
 * descriptor. By now it may be somebody else's, so the bufferevent must not close it. libevent does
 * not tell this, but in no other case it gives up a new connection and leaves it ready to write. */
static void forget_if_refused(struct slot *slot)
{
    if (slot->is_new && is_over(slot) && (bufferevent_get_enabled(slot->connection) & EV_WRITE))
        bufferevent_setfd(slot->connection, -1);
    slot->is_new = false;
}

/* Ends a connection that is too slow. libevent then sees the end of the stream, and frees it. If it
 * does not see it, because its epoll had no memory for this connection, it is told. */
static void cut(struct slot *slot)
{
    static const char reply[] = "HTTP/1.1 408 Request Timeout\r\n"
                                "Connection: close\r\nContent-Length: 0\r\n\r\n";
    int fd = bufferevent_getfd(slot->connection);
    if (slot->is_cut) {
        bufferevent_trigger_event(slot->connection, BEV_EVENT_READING | BEV_EVENT_EOF, 0);
        return;
    }
    slot->is_cut = true;
    if (!slot->is_answered && send(fd, reply, sizeof reply - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        slot->is_answered = true; /* it does not even take that */
    shutdown(fd, SHUT_RDWR);
}

static void sweep_later(struct scrape_server *server)
{
    if (!event_pending(server->sweep, EV_TIMEOUT, NULL))
        event_add(server->sweep, &(struct timeval){.tv_usec = SWEEP_USEC});
}

/* The kernel has no memory to listen again, nobody knows for how long. */
static void hang_up_on_waiting(struct scrape_server *server)
{
    int fd = evconnlistener_get_fd(server->listener), waiting;
    for (int i = 0;
         i < SCRAPE_CONNECTIONS_MAX && (waiting = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0; i++)
        close(waiting);
}

/* If there is a free slot, and the listener does not rest. */
static void listen_again(struct scrape_server *server)
{
    if (server->n_slots == SCRAPE_CONNECTIONS_MAX ||
        event_pending(server->rested, EV_TIMEOUT, NULL) ||
        evconnlistener_enable(server->listener) == 0)
        return;
    hang_up_on_waiting(server);
    sweep_later(server);
}

static void on_sweep(evutil_socket_t fd, short what, void *context)
{
    struct scrape_server *server = context;
    uint64_t now_usec = clock_monotonic_usec();
    (void)fd;
    (void)what;

    for (size_t i = 0; i < SCRAPE_CONNECTIONS_MAX; i++) {
        struct slot *slot = &server->slots[i];
        if (slot->connection)
            forget_if_refused(slot);
        if (slot->connection && !is_over(slot) && now_usec - slot->begun_usec > SCRAPE_USEC_MAX)
            cut(slot);
        if (!slot->connection || !is_over(slot))
            continue;
        bufferevent_decref(slot->connection); /* closes it */
        *slot = (struct slot){0};
        server->n_slots--;
    }
    listen_again(server);
    if (server->n_slots > 0)
        sweep_later(server);
}

static void on_rested(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    listen_again(context);
}

/* libevent asks for the bufferevent of a connection that it has accepted. */
static struct bufferevent *on_accept(struct event_base *base, void *context)
{
    struct scrape_server *server = context;
    struct slot *slot = server->slots;
    struct bufferevent *connection = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

    if (!connection)
        return NULL;
    while (slot->connection)
        slot++;
    bufferevent_incref(connection);
    *slot = (struct slot){
        .connection = connection, .begun_usec = clock_monotonic_usec(), .is_new = true};
    server->n_slots++;
    if (event_add(server->rested, &(struct timeval){.tv_usec = SCRAPE_APART_USEC}) == 0 ||
        server->n_slots == SCRAPE_CONNECTIONS_MAX)
        evconnlistener_disable(server->listener);
    event_active(server->sweep, EV_TIMEOUT, 1); /* before the connection can be used */
    return connection;
}

/* No descriptor is free, or no memory. The sweep listens again. The context is libevent's own, that
 * of evhttp. */
static void on_accept_failed(struct evconnlistener *listener, void *context)
{
    struct scrape_server *server;
    (void)context;
    evconnlistener_disable(listener);
    LIST_FOREACH (server, &servers, entry) {
        if (server->listener == listener)
            sweep_later(server);
    }
}

static void on_closed(struct evhttp_connection *connection, void *context)
{
    const struct scrape_server *server = context;
    (void)connection;
    event_active(server->sweep, EV_TIMEOUT, 1);
}

static int refresh(struct scrape_server *server)
{
    uint64_t now_usec = clock_monotonic_usec();
    if (server->formatted_usec > 0 && now_usec - server->formatted_usec < SCRAPE_FRESH_USEC)
        return server->n_bytes;
    server->n_bytes = server->format(server->text, server->context);
    server->formatted_usec = now_usec;
    return server->n_bytes;
}

static void answer(struct evhttp_request *request, int code, const char *reason, const char *type,
                   const void *text, size_t n_bytes)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    struct evbuffer *body = evbuffer_new();
    bool is_whole = body && evbuffer_add(body, text, n_bytes) == 0 &&
                    evhttp_add_header(headers, "Content-Type", type) == 0 &&
                    evhttp_add_header(headers, "Connection", "close") == 0;
    if (is_whole)
        evhttp_send_reply(request, code, reason, body);
    else
        evhttp_send_error(request, HTTP_INTERNAL, NULL);
    if (body)
        evbuffer_free(body);
}

static void on_request(struct evhttp_request *request, void *context)
{
    static const char plain[] = "text/plain; charset=utf-8";
    struct scrape_server *server = context;
    struct evhttp_connection *connection = evhttp_request_get_connection(request);
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

    for (size_t i = 0; i < SCRAPE_CONNECTIONS_MAX; i++)
        if (server->slots[i].connection == evhttp_connection_get_bufferevent(connection))
            server->slots[i].is_answered = true;
    evhttp_connection_set_closecb(connection, on_closed, server);
    if (evhttp_request_get_command(request) != EVHTTP_REQ_GET) {
        evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET");
        answer(request, HTTP_BADMETHOD, "Method Not Allowed", plain, "only GET\n", 9);
    } else if (!path || strcmp(path, "/metrics") != 0) {
        answer(request, HTTP_NOTFOUND, "Not Found", plain, "only /metrics\n", 14);
    } else if (refresh(server) < 0) {
        answer(request, HTTP_INTERNAL, "Internal Server Error", plain, "too long\n", 9);
    } else {
        answer(request, HTTP_OK, "OK", "text/plain; version=0.0.4; charset=utf-8", server->text,
               (size_t)server->n_bytes);
    }
}

int scrape_server_new(struct event_base *base, int fd, scrape_format format, void *context,
                      struct scrape_server **ret)
{
    enum { EVERY_METHOD = 0xffff };
    _cleanup_(closep) int owned = fd;
    struct scrape_server *server = calloc(1, sizeof *server);
    if (!server)
        return -ENOMEM;
    LIST_INSERT_HEAD(&servers, server, entry);
    server->format = format;
    server->context = context;
    server->http = evhttp_new(base);
    server->sweep = event_new(base, -1, 0, on_sweep, server);
    server->rested = event_new(base, -1, 0, on_rested, server);
    struct evhttp_bound_socket *socket =
        server->http && server->sweep && server->rested
            ? evhttp_accept_socket_with_handle(server->http, TAKE_FD(owned))
            : NULL;
    if (!socket) {
        scrape_server_free(server);
        return -ENOMEM;
    }
    server->listener = evhttp_bound_socket_get_listener(socket);
    evconnlistener_set_error_cb(server->listener, on_accept_failed);
    evhttp_set_bevcb(server->http, on_accept, server);
    evhttp_set_gencb(server->http, on_request, server);
    evhttp_set_allowed_methods(server->http, EVERY_METHOD);
    evhttp_set_max_headers_size(server->http, SCRAPE_HEADERS_BYTES_MAX);
    evhttp_set_max_body_size(server->http, SCRAPE_HEADERS_BYTES_MAX);
    *ret = server;
    return 0;
}

struct scrape_server *scrape_server_free(struct scrape_server *server)
{
    if (!server)
        return NULL;
    LIST_REMOVE(server, entry);
    if (server->http)
        evhttp_free(server->http); /* closes what it listens on, and frees all connections */
    for (size_t i = 0; i < SCRAPE_CONNECTIONS_MAX; i++)
        if (server->slots[i].connection)
            bufferevent_decref(server->slots[i].connection);
    if (server->sweep)
        event_free(server->sweep);
    if (server->rested)
        event_free(server->rested);
    free(server);
    return NULL;
}
