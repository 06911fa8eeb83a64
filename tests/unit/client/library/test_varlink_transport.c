/* What carries the client's calls: messages that are too long, or more than the sockets can hold,
 * descriptors in both directions, and connecting. */
#include "proto/message.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/varlink_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

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
    Suite *suite = suite_create("varlink_transport");
    TCase *tests = tcase_create("varlink_transport");

    tcase_add_checked_fixture(tests, setup, teardown);
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
