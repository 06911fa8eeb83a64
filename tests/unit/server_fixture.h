/* What the tests of call, connection and server share: a server on a real event loop, with
 * the interface of peer_interface.h, and clients that talk to it.
 *
 * The fixture ends the server and closes the clients, and nothing may be left open then.
 *
 * Everything runs in one thread: the client's side pumps the loop while it waits, so nothing races,
 * and after settle() the server has dealt with all that was sent. */
#pragma once

#include "common/clock.h"
#include "daemon/control/server.h"
#include "proto/frame.h"
#include "tests/unit/count_open.h"
#include "tests/unit/peer_interface.h"
#include "tests/unit/run_limited.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { GIVE_UP_USEC = 120 * 1000 * 1000 };
/* By default no peer counts as too slow, so that slow machines do no harm. */
static const uint64_t PATIENCE_USEC = 3600ULL * 1000 * 1000;

struct client {
    int fd; /* -1 once closed */
    struct frame_reader *reader;
    struct client *next;
};

static struct fixture {
    size_t n_open; /* descriptors before the test */
    struct event_base *base;
    struct server *server;
    struct record record;
    struct interface interfaces[2];
    char directory[32], path[64];
    struct client *clients; /* all that there ever were */
} fixture;

static inline struct call *kept(unsigned index)
{
    return fixture.record.kept[index];
}

/* The server's side. */

static inline int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(address.sun_path, path);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(chmod(path, 0666), 0);
    ck_assert_int_eq(listen(fd, SOMAXCONN), 0);
    return fd;
}

static inline void setup(void)
{
    static const struct server_info info = {"Vendor", "Product", "1", "https://example.org"};
    struct event_config *config = event_config_new();

    fixture = (struct fixture){.n_open = count_open(), .directory = "/tmp/test_server.XXXXXX"};
    fixture.interfaces[0] =
        (struct interface){"test.peer", test_description, test_methods, &fixture.record};
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    fixture.base = event_base_new_with_config(config);
    event_config_free(config);
    ck_assert_ptr_nonnull(fixture.base);
    ck_assert_ptr_nonnull(mkdtemp(fixture.directory));
    ck_assert_int_eq(chmod(fixture.directory, 0755), 0);
    snprintf(fixture.path, sizeof fixture.path, "%s/socket", fixture.directory);
    ck_assert_int_eq(server_new(fixture.base, fixture.interfaces, &info, &fixture.server), 0);
    server_set_stall(fixture.server, PATIENCE_USEC);
    ck_assert_int_eq(server_listen(fixture.server, listen_at(fixture.path)), 0);
}

static inline void client_close(struct client *client)
{
    if (client->fd < 0)
        return;
    client->reader = frame_reader_free(client->reader);
    close(client->fd);
    client->fd = -1;
}

static inline void teardown(void)
{
    for (struct client *client; (client = fixture.clients);) {
        fixture.clients = client->next;
        client_close(client);
        free(client);
    }
    fixture.server = server_free(fixture.server);
    event_base_free(fixture.base);
    unlink(fixture.path);
    rmdir(fixture.directory);
    ck_assert_uint_eq(count_open(), fixture.n_open);
}

static inline void settle(void)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(fixture.base, EVLOOP_NONBLOCK);
}

static inline struct server_stats stats(void)
{
    struct server_stats got;

    server_get_stats(fixture.server, &got);
    return got;
}

/* The loop runs until `condition` holds. */
#define PUMP_UNTIL(condition)                                                    \
    for (uint64_t started_usec_ = clock_monotonic_usec(); !(condition);) {       \
        ck_assert_uint_lt(clock_monotonic_usec() - started_usec_, GIVE_UP_USEC); \
        event_base_loop(fixture.base, EVLOOP_NONBLOCK);                          \
    }

/* The client's side. */

static inline struct client *client_of(int fd)
{
    struct client *client = malloc(sizeof *client);

    *client = (struct client){fd, frame_reader_new(32 << 20), fixture.clients};
    fixture.clients = client;
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    ck_assert_ptr_nonnull(client->reader);
    return client;
}

static inline int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline struct client *client_new(void)
{
    return client_of(connect_to(fixture.path));
}

static inline void send_bytes(const struct client *client, const char *bytes, size_t n_bytes)
{
    for (size_t n_sent = 0; n_sent < n_bytes;) {
        ssize_t n = send(client->fd, bytes + n_sent, n_bytes - n_sent, MSG_NOSIGNAL);
        if (n < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            event_base_loop(fixture.base, EVLOOP_NONBLOCK);
            continue;
        }
        n_sent += (size_t)n;
    }
}

/* The text and its NUL. */
static inline void send_text(const struct client *client, const char *text)
{
    send_bytes(client, text, strlen(text) + 1);
}

/* Sends a call of test.peer: send_call(client, "Echo", "{}") or with a flag, "{},\"more\":true". */
static inline void send_call(const struct client *client, const char *method,
                             const char *parameters)
{
    char text[512];

    int n = snprintf(text, sizeof text, "{\"method\":\"test.peer.%s\",\"parameters\":%s}", method,
                     parameters);
    ck_assert_int_lt(n, (int)sizeof text);
    send_text(client, text);
}

/* One message with descriptors. */
static inline void send_fds(const struct client *client, const char *text, const int *fds,
                            size_t n_fds)
{
    struct frame_writer *writer = frame_writer_new();

    ck_assert_int_eq(frame_write(writer, strdup(text), strlen(text), fds, n_fds), 0);
    ck_assert_int_eq(frame_flush(writer, client->fd), 0);
    frame_writer_free(writer);
}

/* The next reply, or NULL at the end. */
static inline json_t *receive(const struct client *client)
{
    struct frame frame = {0};
    int r;

    PUMP_UNTIL((r = frame_read(client->reader, client->fd, &frame)) != -EAGAIN);
    if (r == 0 || r == -ECONNRESET)
        return NULL;
    ck_assert_int_eq(r, 1);
    json_t *reply = json_loads(frame.text, 0, NULL);
    ck_assert_ptr_nonnull(reply);
    frame_done(&frame);
    return reply;
}

static inline void expect(const struct client *client, const char *text)
{
    json_t *reply = receive(client), *wanted = json_loads(text, 0, NULL);

    ck_assert_ptr_nonnull(wanted);
    ck_assert_msg(reply != NULL, "the end instead of %s", text);
    char *got = json_dumps(reply, JSON_COMPACT);
    ck_assert_msg(json_equal(reply, wanted), "%s instead of %s", got, text);
    free(got);
    json_decref(reply);
    json_decref(wanted);
}

static inline void expect_end(const struct client *client)
{
    json_t *reply = receive(client);
    char *got = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
    ck_assert_msg(!reply, "%s instead of the end", got);
}

/* Checks that nothing has been sent to the client, and that the server is idle. */
static inline void expect_nothing(const struct client *client)
{
    char byte;

    settle();
    ck_assert_int_eq(recv(client->fd, &byte, 1, MSG_PEEK), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

/* The connection works. */
static inline void expect_echo(const struct client *client)
{
    send_call(client, "Echo", "{\"x\":[1]}");
    expect(client, "{\"parameters\":{\"x\":[1]}}");
}

/* Calls that can be told apart. */
static inline void send_number(const struct client *client, int number)
{
    char text[32];

    snprintf(text, sizeof text, "{\"x\":%d}", number);
    send_call(client, "Echo", text);
}

static inline void expect_number(const struct client *client, int number)
{
    char text[64];

    snprintf(text, sizeof text, "{\"parameters\":{\"x\":%d}}", number);
    expect(client, text);
}
