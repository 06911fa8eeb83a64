/* The client's connection with servers that answer, are slow, send wrong replies or garbage, and
 * die. The server is the test itself at the other end of a socket pair, or a thread if both sides
 * must run. */
#include "client/library/varlink.h"
#include "proto/message.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { SOON_USEC = 20 * 1000, LATE_USEC = 30 * 1000 * 1000 };

static struct varlink *varlink;
static int server;

static void setup(void)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ck_assert_int_eq(varlink_adopt(fds[0], &varlink), 0);
    varlink_set_timeout(varlink, LATE_USEC);
    server = fds[1];
}

static void hang_up(void)
{
    if (server >= 0)
        close(server);
    server = -1;
}

static void teardown(void)
{
    varlink = varlink_free(varlink);
    hang_up();
}

static void say_bytes(const void *bytes, size_t n)
{
    ck_assert_int_eq(send(server, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* A message: the text and its NUL. */
static void say(const char *text)
{
    say_bytes(text, strlen(text) + 1);
}

/* The next message that the client has sent, in a static buffer. */
static const char *hear(void)
{
    static char text[4096];
    size_t n = 0;

    do {
        ck_assert_uint_lt(n, sizeof text);
        ck_assert_int_eq(recv(server, text + n, 1, 0), 1);
    } while (text[n++] != '\0');
    return text;
}

static void ask(unsigned flags)
{
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, flags, NULL, 0), 0);
}

/* Receives a reply that says {"n": n}. */
static void expect_number(int n, bool continues)
{
    struct varlink_reply reply;
    ck_assert_int_eq(varlink_receive(varlink, &reply), 0);
    ck_assert_ptr_null(reply.error);
    ck_assert_int_eq(json_integer_value(json_object_get(reply.parameters, "n")), n);
    ck_assert_int_eq(reply.continues, continues);
    varlink_reply_done(&reply);
}

/* Receives and fails; then the connection is broken for everything. */
static void expect_broken(int error)
{
    struct varlink_reply reply;
    ck_assert_int_eq(varlink_receive(varlink, &reply), error);
    ck_assert_int_eq(varlink_receive(varlink, &reply), error);
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, NULL, 0), error);
    ck_assert_int_eq(varlink_flush(varlink), error);
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), error);
}

START_TEST(call_and_reply)
{
    struct varlink_reply reply;
    json_t *parameters = json_pack("{s:i}", "x", 3);

    say("{\"parameters\":{\"n\":7}}"); /* the answer may be there before the question */
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", parameters, NULL, 0, &reply), 0);
    json_decref(parameters);
    ck_assert_int_eq(json_integer_value(json_object_get(reply.parameters, "n")), 7);
    varlink_reply_done(&reply);

    json_t *call = json_loads(hear(), 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(call, "method")), "a.b.C");
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(call, "parameters"), "x")),
                     3);
    ck_assert(!json_is_true(json_object_get(call, "more")));
    json_decref(call);
}
END_TEST

START_TEST(error_is_a_reply)
{
    struct varlink_reply reply;

    say("{\"error\":\"a.b.Bad\",\"parameters\":{\"why\":\"so\"},\"continues\":true}");
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), 0);
    ck_assert_str_eq(reply.error, "a.b.Bad");
    ck_assert_str_eq(json_string_value(json_object_get(reply.parameters, "why")), "so");
    ck_assert(!reply.continues); /* an error ends its call */
    varlink_reply_done(&reply);
    say("{\"parameters\":{\"n\":1}}"); /* and leaves the connection usable */
    ask(0);
    expect_number(1, false);
}
END_TEST

START_TEST(more_replies)
{
    ask(VARLINK_MORE);
    ck_assert_ptr_nonnull(strstr(hear(), "\"more\":true"));
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, NULL, 0), -EBUSY);
    say("{\"parameters\":{\"n\":1},\"continues\":true}");
    say("{\"parameters\":{\"n\":2},\"continues\":true}");
    say("{\"parameters\":{\"n\":3}}");
    expect_number(1, true);
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, NULL, 0), -EBUSY);
    expect_number(2, true);
    expect_number(3, false);
    ask(0);
    say("{\"parameters\":{\"n\":4}}");
    expect_number(4, false);
}
END_TEST

START_TEST(pipelined)
{
    struct varlink_reply reply;

    for (int i = 0; i < 3; i++)
        ask(0);
    ask(VARLINK_MORE);
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), -EBUSY);
    for (int i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"parameters\":{\"n\":%d}}", i);
        say(text);
    }
    say("{\"parameters\":{\"n\":3},\"continues\":true}");
    say("{\"parameters\":{\"n\":4}}");
    for (int i = 0; i < 3; i++)
        expect_number(i, false);
    expect_number(3, true);
    expect_number(4, false);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ENODATA);
}
END_TEST

/* A call before the streaming one may not have several replies. */
START_TEST(continues_out_of_turn)
{
    ask(0);
    ask(VARLINK_MORE);
    say("{\"parameters\":{},\"continues\":true}");
    expect_broken(-EBADMSG);
}
END_TEST

START_TEST(oneway)
{
    struct varlink_reply reply;

    ask(VARLINK_ONEWAY);
    ck_assert_int_eq(varlink_flush(varlink), 0);
    ck_assert_ptr_nonnull(strstr(hear(), "\"oneway\":true"));
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ENODATA);
    ask(0);
    say("{\"parameters\":{\"n\":1}}");
    expect_number(1, false);
}
END_TEST

static const char *const rubbish[] = {
    "",
    "x",
    "[]",
    "{",
    "{\"error\":3}",
    "{\"continues\":1}",
    "{\"parameters\":[]}",
    "{\"parameters\":{}} trailing",
    "{\"parameters\":{\"a\":1,\"a\":2}}",
    "{\"parameters\":{\"a\":\"\xff\"}}",
    "{\"parameters\":{},\"continues\":true}", /* the call was not made with `more` */
};

START_TEST(rubbish_breaks_the_connection)
{
    ask(0);
    say(rubbish[_i]);
    expect_broken(-EBADMSG);
}
END_TEST

START_TEST(hangs_up_unasked)
{
    ask(0);
    hang_up();
    expect_broken(-ECONNRESET);
}
END_TEST

START_TEST(hangs_up_within_a_reply)
{
    ask(0);
    hear();
    say_bytes("{\"parameters\"", 13);
    hang_up();
    expect_broken(-ECONNRESET);
}
END_TEST

/* Replies from before the end are not lost, although nothing can be sent any more. */
START_TEST(answers_and_dies)
{
    struct varlink_reply reply;

    say("{\"error\":\"a.b.Closing\"}");
    hang_up();
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), 0);
    ck_assert_str_eq(reply.error, "a.b.Closing");
    varlink_reply_done(&reply);
    ask(0);
    expect_broken(-ECONNRESET);
}
END_TEST

START_TEST(flush_to_the_dead)
{
    hang_up();
    ask(VARLINK_ONEWAY);
    ck_assert_int_eq(varlink_flush(varlink), -EPIPE);
}
END_TEST

START_TEST(slow_server)
{
    struct varlink_reply reply;

    ask(0);
    varlink_set_timeout(varlink, SOON_USEC);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ETIMEDOUT);
    say_bytes("{\"parameters\":{", 15);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ETIMEDOUT);
    say("\"n\":5}}");
    expect_number(5, false); /* late, but still the answer */
    varlink_set_timeout(varlink, 0);
    ask(0);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ETIMEDOUT);
}
END_TEST

START_TEST(interrupted)
{
    struct varlink_reply reply;
    int event = eventfd(1, EFD_CLOEXEC);

    varlink_set_timeout(varlink, VARLINK_FOREVER);
    varlink_set_interrupt(varlink, event);
    ask(0);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -EINTR);
    varlink_set_interrupt(varlink, -1);
    say("{\"parameters\":{\"n\":6}}");
    expect_number(6, false);
    close(event);
}
END_TEST

START_TEST(call_too_long)
{
    static char text[MESSAGE_BYTES_MAX + 1];

    memset(text, 'x', sizeof text - 1);
    json_t *parameters = json_pack("{s:s}", "x", text);
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", parameters, 0, NULL, 0), -EMSGSIZE);
    json_decref(parameters);
    ask(0); /* nothing of it was sent */
    ck_assert_ptr_nonnull(strstr(hear(), "a.b.C"));
}
END_TEST

/* Sends more than a reply may hold, for as long as somebody listens. */
static void *flood(void *unused)
{
    static const char text[1 << 16] = {[0 ...(1 << 16) - 1] = ' '};

    (void)unused;
    for (int i = 0; i < 2 * MESSAGE_REPLY_BYTES_MAX / (int)sizeof text; i++)
        if (send(server, text, sizeof text, MSG_NOSIGNAL) < 0)
            break;
    return NULL;
}

START_TEST(reply_too_long)
{
    pthread_t thread;

    ask(0);
    ck_assert_int_eq(pthread_create(&thread, NULL, flood, NULL), 0);
    expect_broken(-EMSGSIZE);
    varlink = varlink_free(varlink);
    pthread_join(thread, NULL);
}
END_TEST

enum { MANY = 200, BULK = 20000 };

/* Answers each call at once and at length, and reads on only when that is sent. */
static void *answer_at_length(void *unused)
{
    static char in[1 << 16], reply[BULK + 64];

    (void)unused;
    memset(reply, ' ', BULK);
    int n_reply = BULK + sprintf(reply + BULK, "{\"parameters\":{}}") + 1;
    for (int n_left = MANY; n_left > 0;) {
        ssize_t n = recv(server, in, sizeof in, 0);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (in[i] == '\0' && n_left-- > 0)
                (void)!send(server, reply, (size_t)n_reply, MSG_NOSIGNAL);
    }
    return NULL;
}

/* Neither side can send its bytes unless the client reads while it sends. */
START_TEST(pipelined_beyond_the_buffers)
{
    static char text[BULK];
    pthread_t thread;

    memset(text, 'x', sizeof text - 1);
    json_t *parameters = json_pack("{s:s}", "x", text);
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_at_length, NULL), 0);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(varlink_send(varlink, "a.b.C", parameters, 0, NULL, 0), 0);
    for (int i = 0; i < MANY; i++) {
        struct varlink_reply reply;
        ck_assert_int_eq(varlink_receive(varlink, &reply), 0);
        varlink_reply_done(&reply);
    }
    pthread_join(thread, NULL);
    json_decref(parameters);
}
END_TEST

START_TEST(descriptor_out)
{
    struct frame frame;
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, &fds[0], 1), 0);
    close(fds[0]);
    struct frame_reader *reader = frame_reader_new(MESSAGE_BYTES_MAX);
    ck_assert_int_eq(frame_read(reader, server, &frame), 1);
    ck_assert_uint_eq(frame.n_fds, 1);
    ck_assert_int_eq(write(fds[1], "!", 1), 1);
    char byte = 0;
    ck_assert_int_eq(read(frame.fds[0], &byte, 1), 1);
    ck_assert_int_eq(byte, '!');
    frame_done(&frame);
    frame_reader_free(reader);
    close(fds[1]);
}
END_TEST

START_TEST(descriptor_in)
{
    struct varlink_reply reply;
    int fds[2];
    struct frame_writer *writer = frame_writer_new();
    const char *text = "{\"parameters\":{\"n\":1}}";

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ck_assert_int_eq(frame_write(writer, strdup(text), strlen(text), fds, 2), 0);
    ck_assert_int_eq(frame_flush(writer, server), 0);
    frame_writer_free(writer);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), 0);
    int taken = varlink_reply_take_fd(&reply, 1);
    ck_assert_int_ge(taken, 0);
    ck_assert_int_eq(varlink_reply_take_fd(&reply, 1), -EBADF);
    ck_assert_int_eq(varlink_reply_take_fd(&reply, 2), -EBADF);
    ck_assert_int_eq(varlink_reply_take_fd(&reply, UINT64_MAX), -EBADF);
    varlink_reply_done(&reply); /* closes the reading end, which was not taken */
    ck_assert_int_eq(fcntl(taken, F_GETFD), FD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(write(taken, "!", 1), -1);
    ck_assert_int_eq(errno, EPIPE);
    close(taken);
}
END_TEST

/* A socket in a separate directory. */
static int listen_at(char directory[], struct sockaddr_un *ret)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_ptr_nonnull(mkdtemp(directory));
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "%s/s", directory);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)ret, sizeof *ret), 0);
    return fd;
}

START_TEST(connecting)
{
    char directory[] = "/tmp/test-varlink-XXXXXX", long_path[200];
    struct sockaddr_un address;
    struct varlink *other = NULL, *another = NULL;
    struct varlink_reply reply;
    int listener = listen_at(directory, &address);

    ck_assert_int_eq(varlink_connect(address.sun_path, LATE_USEC, &other), -ECONNREFUSED);
    ck_assert_int_eq(listen(listener, 0), 0);
    ck_assert_int_eq(varlink_connect(address.sun_path, SOON_USEC, &other), 0);
    /* The timeout holds for replies, too, and for a backlog that is full. */
    ck_assert_int_eq(varlink_call(other, "a.b.C", NULL, NULL, 0, &reply), -ETIMEDOUT);
    ck_assert_int_eq(varlink_connect(address.sun_path, SOON_USEC, &another), -ETIMEDOUT);
    ck_assert_ptr_null(another);
    other = varlink_free(other);
    close(listener);
    unlink(address.sun_path);
    ck_assert_int_eq(varlink_connect(address.sun_path, LATE_USEC, &other), -ENOENT);
    rmdir(directory);

    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    ck_assert_int_eq(varlink_connect(long_path, LATE_USEC, &other), -ENAMETOOLONG);
    ck_assert_int_eq(varlink_connect("", LATE_USEC, &other), -ENOENT);
    ck_assert_int_eq(varlink_adopt(-1, &other), -EBADF);
    ck_assert_ptr_null(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("varlink_client");
    TCase *tests = tcase_create("varlink_client");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, call_and_reply);
    tcase_add_test(tests, error_is_a_reply);
    tcase_add_test(tests, more_replies);
    tcase_add_test(tests, pipelined);
    tcase_add_test(tests, continues_out_of_turn);
    tcase_add_test(tests, oneway);
    tcase_add_loop_test(tests, rubbish_breaks_the_connection, 0,
                        (int)(sizeof rubbish / sizeof *rubbish));
    tcase_add_test(tests, hangs_up_unasked);
    tcase_add_test(tests, hangs_up_within_a_reply);
    tcase_add_test(tests, answers_and_dies);
    tcase_add_test(tests, flush_to_the_dead);
    tcase_add_test(tests, slow_server);
    tcase_add_test(tests, interrupted);
    tcase_add_test(tests, call_too_long);
    tcase_add_test(tests, reply_too_long);
    tcase_add_test(tests, pipelined_beyond_the_buffers);
    tcase_add_test(tests, descriptor_out);
    tcase_add_test(tests, descriptor_in);
    tcase_add_test(tests, connecting);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
