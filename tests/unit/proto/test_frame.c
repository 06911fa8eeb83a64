/* Framing over real socket pairs: where messages begin and end, and to whom descriptors belong. */
#include "proto/frame.h"
#include "tests/unit/case_step.h"
#include "tests/unit/frame_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

START_TEST(test_one)
{
    struct pair pair;

    setup(&pair);
    expect_none(&pair, -EAGAIN);
    SEND(&pair, "hello\0");
    expect(&pair, "hello", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));
    expect_none(&pair, -EAGAIN);
    close(pair.theirs);
    pair.theirs = -1;
    expect_none(&pair, 0);
    expect_none(&pair, 0);
    teardown(&pair);
}
END_TEST

START_TEST(test_back_to_back)
{
    struct pair pair;

    setup(&pair);
    SEND(&pair, "a\0\0bc\0d");
    expect(&pair, "a", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "", 0, 0);
    expect(&pair, "bc", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    expect_none(&pair, -EAGAIN);
    ck_assert(frame_reader_partial(pair.reader));
    SEND(&pair, "\0");
    expect(&pair, "d", 0, 0);
    teardown(&pair);
}
END_TEST

/* Half a message must be consumed, or a level-triggered loop would spin. */
START_TEST(test_partial_is_consumed)
{
    struct pair pair;
    char byte;

    setup(&pair);
    SEND(&pair, "half");
    expect_none(&pair, -EAGAIN);
    ck_assert(frame_reader_partial(pair.reader));
    ck_assert_int_eq(recv(pair.ours, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    teardown(&pair);
}
END_TEST

START_TEST(test_split_everywhere)
{
    static const char stream[] = "{\"a\":1}\0{}\0{\"b\":[2,3]}"; /* and its NUL */
    static const char *const texts[] = {"{\"a\":1}", "{}", "{\"b\":[2,3]}"};

    for (size_t split = 1; split < sizeof stream; split++) {
        struct pair pair;
        size_t n = 0;

        setup(&pair);
        for (size_t part = 0; part < 2; part++) {
            struct frame frame = {0};
            send_fds(pair.theirs, part ? stream + split : stream,
                     part ? sizeof stream - split : split, NULL, 0);
            int r;
            while ((r = frame_read(pair.reader, pair.ours, &frame)) == 1) {
                ck_assert_str_eq(frame.text, texts[n++]);
                frame_done(&frame);
            }
            ck_assert_int_eq(r, -EAGAIN);
        }
        ck_assert_uint_eq(n, 3);
        teardown(&pair);
    }
}
END_TEST

START_TEST(test_byte_by_byte)
{
    static const char stream[] = "{\"a\":1}";
    struct pair pair;

    setup(&pair);
    for (size_t i = 0; i + 1 < sizeof stream; i++) {
        send_fds(pair.theirs, stream + i, 1, NULL, 0);
        expect_none(&pair, -EAGAIN);
    }
    SEND(&pair, "\0");
    expect(&pair, stream, 0, 0);
    teardown(&pair);
}
END_TEST

/* Messages that were read ahead come out even when the socket has nothing more, or is gone. */
START_TEST(test_read_ahead)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    SEND(&pair, "a\0b\0");
    SEND(&pair, "c\0ha");
    expect(&pair, "a", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    SEND(&pair, "lf\0");
    expect(&pair, "b", 0, 0);
    expect(&pair, "c", 0, 0);
    expect(&pair, "half", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));

    /* The socket is not looked at for the second one, so nobody can tell what came meanwhile. */
    SEND(&pair, "a\0b\0");
    expect(&pair, "a", 0, 0);
    SEND(&pair, "c\0");
    expect(&pair, "b", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "c", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));

    SEND(&pair, "a\0b\0c\0ha");
    expect(&pair, "a", 0, 0);
    SEND(&pair, "lf\0");
    SEND_FDS(&pair, "fd\0x\0", &fd, 1);
    close(fd);
    close(pair.theirs);
    pair.theirs = -1;
    expect(&pair, "b", 0, 0);
    expect(&pair, "c", 0, 0);
    expect(&pair, "half", 0, 0);
    expect(&pair, "fd", 1, 1);
    expect(&pair, "x", 0, 0);
    expect_none(&pair, 0);
    teardown(&pair);

    setup(&pair);
    SEND(&pair, "a\0b\0half");
    expect(&pair, "a", 0, 0);
    teardown(&pair);
}
END_TEST

/* Random streams, sent in random pieces, come out as they went in. */
START_TEST(test_random_streams)
{
    unsigned seed = (unsigned)getpid();
    struct pair pair;
    int fds[3];

    printf("seed %u\n", seed);
    setup(&pair);
    for (int i = 0; i < 3; i++)
        fds[i] = marked_fd(i + 1);
    for (int round = 0; round < 2000; round += case_step()) {
        enum { N = 8 };
        size_t lengths[N], n_fds[N];
        for (int i = 0; i < N; i++) {
            char text[700];
            lengths[i] = (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 20 : 600);
            n_fds[i] = rand_r(&seed) % 3 ? 0 : 1 + (size_t)rand_r(&seed) % 3;
            memset(text, 'a' + i, lengths[i]);
            text[lengths[i]] = '\0';
            size_t split = 1 + (size_t)rand_r(&seed) % (lengths[i] + 1);
            send_fds(pair.theirs, text, split, fds, n_fds[i]);
            if (split < lengths[i] + 1)
                send_fds(pair.theirs, text + split, lengths[i] + 1 - split, NULL, 0);
        }
        for (int i = 0; i < N; i++) {
            struct frame frame = {0};
            ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
            ck_assert_uint_eq(frame.n_bytes, lengths[i]);
            ck_assert_uint_eq(strlen(frame.text), lengths[i]);
            ck_assert(lengths[i] == 0 || frame.text[lengths[i] - 1] == 'a' + i);
            ck_assert_uint_eq(frame.n_fds, n_fds[i]);
            ck_assert(i == N - 1 || frame_reader_more(pair.reader));
            frame_done(&frame);
        }
        expect_none(&pair, -EAGAIN);
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    teardown(&pair);
}
END_TEST

static void send_long(struct pair *pair, size_t n_bytes, bool with_nul)
{
    char *text = malloc(n_bytes + 1);

    memset(text, 'x', n_bytes);
    text[n_bytes] = '\0';
    send_fds(pair->theirs, text, n_bytes + with_nul, NULL, 0);
    free(text);
}

START_TEST(test_long_messages)
{
    static const size_t lengths[] = {
        FRAME_PEEK_BYTES - 2, FRAME_PEEK_BYTES - 1, FRAME_PEEK_BYTES, FRAME_PEEK_BYTES + 1,
        2 * FRAME_PEEK_BYTES, MAX_BYTES - 1,        MAX_BYTES};
    struct pair pair;

    setup(&pair);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct frame frame = {0};
        send_long(&pair, lengths[i], true);
        SEND(&pair, "next\0");
        ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
        ck_assert_uint_eq(frame.n_bytes, lengths[i]);
        ck_assert_uint_eq(strspn(frame.text, "x"), lengths[i]);
        ck_assert_uint_eq(strlen(frame.text), lengths[i]);
        ck_assert(frame_reader_more(pair.reader));
        frame_done(&frame);
        expect(&pair, "next", 0, 0);
    }
    teardown(&pair);
}
END_TEST

START_TEST(test_too_long)
{
    struct pair pair;

    for (int with_nul = 0; with_nul < 2; with_nul++) {
        setup(&pair);
        send_long(&pair, MAX_BYTES + 1, with_nul);
        expect_none(&pair, -EMSGSIZE);
        teardown(&pair);
    }

    /* The longest one without its NUL is only unfinished. */
    setup(&pair);
    send_long(&pair, MAX_BYTES, false);
    expect_none(&pair, -EAGAIN);
    SEND(&pair, "x");
    expect_none(&pair, -EMSGSIZE);
    teardown(&pair);
}
END_TEST

START_TEST(test_end_inside_message)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    SEND_FDS(&pair, "whole\0", &fd, 1);
    SEND_FDS(&pair, "half", &fd, 1);
    close(fd);
    shutdown(pair.theirs, SHUT_WR);
    expect(&pair, "whole", 1, 1);
    expect_none(&pair, -ECONNRESET);
    teardown(&pair);
}
END_TEST

static TCase *frame_tests(const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_one);
    tcase_add_test(tcase, test_back_to_back);
    tcase_add_test(tcase, test_partial_is_consumed);
    tcase_add_test(tcase, test_split_everywhere);
    tcase_add_test(tcase, test_byte_by_byte);
    tcase_add_test(tcase, test_read_ahead);
    tcase_add_test(tcase, test_random_streams);
    tcase_add_test(tcase, test_long_messages);
    tcase_add_test(tcase, test_too_long);
    tcase_add_test(tcase, test_end_inside_message);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("frame");
    TCase *ahead = frame_tests("read ahead");
    tcase_add_unchecked_fixture(ahead, turn_on_read_ahead, NULL);
    suite_add_tcase(suite, frame_tests("one by one"));
    suite_add_tcase(suite, ahead);
    return run_suite(suite);
}
