/* Descriptors that come with messages: to which message they belong, and that none is lost or left
 * open. */
#include "common/passed_fd.h"
#include "proto/frame.h"
#include "tests/unit/frame_fixture.h"
#include "tests/unit/run_limited.h"

/* The kernel returns a message without descriptors together with the next one in one recvmsg. */
START_TEST(test_fds_after_plain_message)
{
    SEND("plain\0");
    SEND_MARKED("with one\0", 1, 1);
    SEND_MARKED("with another\0", 2, 1);
    SEND("plain again\0");
    SEND_MARKED("with both\0", 1, 2);
    close_marked();
    expect("plain");
    expect_marked("with one", 1, 1);
    ck_assert(frame_reader_more(pair.reader));
    expect_marked("with another", 2, 1);
    ck_assert(frame_reader_more(pair.reader));
    expect("plain again");
    expect_marked("with both", 1, 2);
    expect_none(-EAGAIN);
}
END_TEST

/* A peek stops after descriptors, so a short peek does not mean that the socket is empty. */
START_TEST(test_more_behind_fds)
{
    SEND_MARKED("first\0", 1, 1);
    SEND("second\0");
    close_marked();
    expect_marked("first", 1, 1);
    ck_assert(frame_reader_more(pair.reader));
    expect("second");
    ck_assert(!frame_reader_more(pair.reader));
}
END_TEST

START_TEST(test_two_messages_with_one_send)
{
    SEND_MARKED("owner\0other\0", 1, 1);
    close_marked();
    expect_marked("owner", 1, 1);
    expect("other");
}
END_TEST

START_TEST(test_split_message_with_fds)
{
    SEND_MARKED("sp", 1, 1);
    expect_none(-EAGAIN);
    SEND_MARKED("li", 2, 1);
    SEND_MARKED("t\0next\0", 3, 1);
    expect_marked("split", 1, 3);
    expect("next");
}
END_TEST

START_TEST(test_fds_never_taken)
{
    struct frame frame = {0};
    SEND_MARKED("m\0", 1, 2);
    SEND_MARKED("half", 1, 2);
    close_marked();
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    int taken = TAKE_FD(frame.fds[1]);
    frame_done(&frame);
    frame_done(&frame);
    ck_assert_int_eq(mark_of(taken), 2);
    close(taken);
    expect_none(-EAGAIN);
    /* The reader still holds two. */
}
END_TEST

START_TEST(test_as_many_fds_as_go)
{
    struct frame frame = {0};
    int fds[FRAME_FDS_MAX];

    for (size_t i = 0; i < FRAME_FDS_MAX; i++)
        fds[i] = pair.marked[2];
    send_fds("many", 5, fds, FRAME_FDS_MAX);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    ck_assert_uint_eq(frame.n_fds, FRAME_FDS_MAX);
    ck_assert_int_eq(mark_of(frame.fds[FRAME_FDS_MAX - 1]), 3);
    frame_done(&frame);

    /* One more, with a later byte: none can be trusted. */
    send_fds("too ", 4, fds, FRAME_FDS_MAX);
    SEND_MARKED("many\0", 1, 1);
    close_marked();
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), -EBADMSG);
    ck_assert_str_eq(frame.text, "too many");
    ck_assert_uint_eq(frame.n_fds, 0);
    frame_done(&frame);
    SEND("next\0");
    expect("next");
}
END_TEST

struct closings {
    size_t n_calls, n_fds;
};

static bool close_counted(const int *fds, size_t n_fds, struct passed_fd_owner *owner,
                          void *context)
{
    struct closings *closings = context;

    ck_assert_ptr_null(owner);
    for (size_t i = 0; i < n_fds; i++)
        ck_assert_int_eq(close(fds[i]), 0);
    closings->n_calls++;
    closings->n_fds += n_fds;
    return true;
}

/* A loop that has each closed elsewhere by itself gets 253 answers to one message. */
START_TEST(test_fds_are_closed_together)
{
    struct frame frame = {0};
    struct closings closings = {0};
    int fds[FRAME_FDS_MAX];

    for (size_t i = 0; i < FRAME_FDS_MAX; i++)
        fds[i] = pair.marked[2];
    send_fds("many", 5, fds, FRAME_FDS_MAX);
    passed_fds_set_closer(close_counted, &closings);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    int taken = TAKE_FD(frame.fds[1]);
    frame_done(&frame);
    ck_assert_uint_eq(closings.n_calls, 1);
    ck_assert_uint_eq(closings.n_fds, FRAME_FDS_MAX - 1);
    close(taken);

    SEND_MARKED("one\0", 1, 1);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    close(TAKE_FD(frame.fds[0]));
    frame_done(&frame);
    passed_fds_set_closer(NULL, NULL);
    ck_assert_uint_eq(closings.n_calls, 1);
}
END_TEST

/* Two of the three that come find a place. */
static void lose_fds(const struct limiter *limiter)
{
    struct frame frame = {0};
    size_t n_open = count_open();

    limit_fds(limiter, 2);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), -EBADMSG);
    ck_assert_str_eq(frame.text, "lost");
    ck_assert_uint_eq(frame.n_fds, 0);
    frame_done(&frame);
    expect_marked("kept", 1, 1);
    ck_assert_uint_eq(count_open(), n_open);
}

START_TEST(test_lost_fds)
{
    SEND_MARKED("lost\0", 1, 3);
    SEND_MARKED("kept\0", 1, 1);
    close_marked();
    run_limited(lose_fds);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, test_fds_after_plain_message);
    tcase_add_test(tcase, test_more_behind_fds);
    tcase_add_test(tcase, test_two_messages_with_one_send);
    tcase_add_test(tcase, test_split_message_with_fds);
    tcase_add_test(tcase, test_fds_never_taken);
    tcase_add_test(tcase, test_as_many_fds_as_go);
    tcase_add_test(tcase, test_fds_are_closed_together);
    tcase_add_test(tcase, test_lost_fds);
}

int main(void)
{
    return run_both_ways("frame_fds", add_tests);
}
