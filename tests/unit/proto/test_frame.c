/* Framing over real socket pairs: where messages begin and end. */
#include "proto/frame.h"
#include "tests/unit/case_step.h"
#include "tests/unit/frame_fixture.h"

START_TEST(test_one)
{
    expect_none(-EAGAIN);
    SEND("hello\0");
    expect("hello");
    ck_assert(!frame_reader_more(pair.reader));
    expect_none(-EAGAIN);
    peer_closes();
    expect_none(0);
    expect_none(0);
}
END_TEST

START_TEST(test_back_to_back)
{
    SEND("a\0\0bc\0d");
    expect("a");
    ck_assert(frame_reader_more(pair.reader));
    expect("");
    expect("bc");
    ck_assert(frame_reader_more(pair.reader));
    expect_none(-EAGAIN);
    ck_assert(frame_reader_partial(pair.reader));
    SEND("\0");
    expect("d");
}
END_TEST

/* Half a message must be consumed, or a level-triggered loop would spin. */
START_TEST(test_partial_is_consumed)
{
    char byte;

    SEND("half");
    expect_none(-EAGAIN);
    ck_assert(frame_reader_partial(pair.reader));
    ck_assert_int_eq(recv(pair.ours, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
}
END_TEST

static const char stream[] = "{\"a\":1}\0{}\0{\"b\":[2,3]}"; /* and its NUL */

START_TEST(test_split_everywhere)
{
    static const char *const texts[] = {"{\"a\":1}", "{}", "{\"b\":[2,3]}"};
    size_t split = (size_t)_i, n = 0;

    for (size_t part = 0; part < 2; part++) {
        struct frame frame = {0};
        send_fds(part ? stream + split : stream, part ? sizeof stream - split : split, NULL, 0);
        int r;
        while ((r = frame_read(pair.reader, pair.ours, &frame)) == 1) {
            ck_assert_str_eq(frame.text, texts[n++]);
            frame_done(&frame);
        }
        ck_assert_int_eq(r, -EAGAIN);
    }
    ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(test_byte_by_byte)
{
    static const char text[] = "{\"a\":1}";

    for (size_t i = 0; i + 1 < sizeof text; i++) {
        send_fds(text + i, 1, NULL, 0);
        expect_none(-EAGAIN);
    }
    SEND("\0");
    expect(text);
}
END_TEST

/* Messages that were read ahead come out even when the socket has nothing more, or is gone. */
START_TEST(test_read_ahead)
{
    SEND("a\0b\0");
    SEND("c\0ha");
    expect("a");
    ck_assert(frame_reader_more(pair.reader));
    SEND("lf\0");
    expect("b");
    expect("c");
    expect("half");
    ck_assert(!frame_reader_more(pair.reader));

    /* The second message is read without the socket, so later bytes are unknown. */
    SEND("a\0b\0");
    expect("a");
    SEND("c\0");
    expect("b");
    ck_assert(frame_reader_more(pair.reader));
    expect("c");
    ck_assert(!frame_reader_more(pair.reader));

    SEND("a\0b\0c\0ha");
    expect("a");
    SEND("lf\0");
    SEND_MARKED("fd\0x\0", 1, 1);
    close_marked();
    peer_closes();
    expect("b");
    expect("c");
    expect("half");
    expect_marked("fd", 1, 1);
    expect("x");
    expect_none(0);
}
END_TEST

START_TEST(test_free_with_messages_read_ahead)
{
    SEND("a\0b\0half");
    expect("a");
}
END_TEST

/* Random streams, sent in random pieces, come out as they went in. */
START_TEST(test_random_streams)
{
    unsigned seed = (unsigned)getpid();
    printf("seed %u\n", seed);
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
            send_fds(text, split, pair.marked, n_fds[i]);
            if (split < lengths[i] + 1)
                send_fds(text + split, lengths[i] + 1 - split, NULL, 0);
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
        expect_none(-EAGAIN);
    }
}
END_TEST

static void send_long(size_t n_bytes, bool with_nul)
{
    char *text = malloc(n_bytes + 1);

    memset(text, 'x', n_bytes);
    text[n_bytes] = '\0';
    send_fds(text, n_bytes + with_nul, NULL, 0);
    free(text);
}

START_TEST(test_long_messages)
{
    static const size_t lengths[] = {
        FRAME_PEEK_BYTES - 2, FRAME_PEEK_BYTES - 1, FRAME_PEEK_BYTES, FRAME_PEEK_BYTES + 1,
        2 * FRAME_PEEK_BYTES, MAX_BYTES - 1,        MAX_BYTES};

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct frame frame = {0};
        send_long(lengths[i], true);
        SEND("next\0");
        ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
        ck_assert_uint_eq(frame.n_bytes, lengths[i]);
        ck_assert_uint_eq(strspn(frame.text, "x"), lengths[i]);
        ck_assert_uint_eq(strlen(frame.text), lengths[i]);
        ck_assert(frame_reader_more(pair.reader));
        frame_done(&frame);
        expect("next");
    }
}
END_TEST

/* Without its NUL, and with it. */
START_TEST(test_too_long)
{
    send_long(MAX_BYTES + 1, _i);
    expect_none(-EMSGSIZE);
}
END_TEST

START_TEST(test_longest_without_its_nul_is_unfinished)
{
    send_long(MAX_BYTES, false);
    expect_none(-EAGAIN);
    SEND("x");
    expect_none(-EMSGSIZE);
}
END_TEST

START_TEST(test_end_inside_message)
{
    SEND_MARKED("whole\0", 1, 1);
    SEND_MARKED("half", 1, 1);
    close_marked();
    shutdown(pair.theirs, SHUT_WR);
    expect_marked("whole", 1, 1);
    expect_none(-ECONNRESET);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, test_one);
    tcase_add_test(tcase, test_back_to_back);
    tcase_add_test(tcase, test_partial_is_consumed);
    tcase_add_loop_test(tcase, test_split_everywhere, 1, sizeof stream);
    tcase_add_test(tcase, test_byte_by_byte);
    tcase_add_test(tcase, test_read_ahead);
    tcase_add_test(tcase, test_free_with_messages_read_ahead);
    tcase_add_test(tcase, test_random_streams);
    tcase_add_test(tcase, test_long_messages);
    tcase_add_loop_test(tcase, test_too_long, 0, 2);
    tcase_add_test(tcase, test_longest_without_its_nul_is_unfinished);
    tcase_add_test(tcase, test_end_inside_message);
}

int main(void)
{
    return run_both_ways("frame", add_tests);
}
