/* The client's end of a connection, and the server at the other end of the socket pair: the test
 * itself, or a thread if both sides must run. */
#pragma once

#include "client/library/varlink.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOON_USEC = 20 * 1000, LATE_USEC = 30 * 1000 * 1000 };

static struct varlink *varlink;
static int server;

static inline void setup(void)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ck_assert_int_eq(varlink_adopt(fds[0], &varlink), 0);
    varlink_set_timeout(varlink, LATE_USEC);
    server = fds[1];
}

static inline void hang_up(void)
{
    if (server >= 0)
        close(server);
    server = -1;
}

static inline void teardown(void)
{
    varlink = varlink_free(varlink);
    hang_up();
}

static inline void say_bytes(const void *bytes, size_t n)
{
    ck_assert_int_eq(send(server, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* A message: the text and its NUL. */
static inline void say(const char *text)
{
    say_bytes(text, strlen(text) + 1);
}

/* The next message that the client has sent, in a static buffer. */
static inline const char *hear(void)
{
    static char text[4096];
    size_t n = 0;

    do {
        ck_assert_uint_lt(n, sizeof text);
        ck_assert_int_eq(recv(server, text + n, 1, 0), 1);
    } while (text[n++] != '\0');
    return text;
}

static inline void ask(unsigned flags)
{
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, flags, NULL, 0), 0);
}

/* Receives a reply that says {"n": n}. */
static inline void expect_number(int n, bool continues)
{
    struct varlink_reply reply;
    ck_assert_int_eq(varlink_receive(varlink, &reply), 0);
    ck_assert_ptr_null(reply.error);
    ck_assert_int_eq(json_integer_value(json_object_get(reply.parameters, "n")), n);
    ck_assert_int_eq(reply.continues, continues);
    varlink_reply_done(&reply);
}

/* Receives and fails; then the connection is broken for everything. */
static inline void expect_broken(int error)
{
    struct varlink_reply reply;
    ck_assert_int_eq(varlink_receive(varlink, &reply), error);
    ck_assert_int_eq(varlink_receive(varlink, &reply), error);
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, NULL, 0), error);
    ck_assert_int_eq(varlink_flush(varlink), error);
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), error);
}
