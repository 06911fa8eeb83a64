/* Writing messages: at once, in pieces, with descriptors, and without a reader. */
#include "proto/frame.h"
#include "tests/unit/frame_fixture.h"

static char *copy_of(const char *text)
{
    char *copy = strdup(text);
    ck_assert_ptr_nonnull(copy);
    return copy;
}

static void queue(const char *text, const int *fds, size_t n_fds)
{
    ck_assert_int_eq(frame_write(pair.writer, copy_of(text), strlen(text), fds, n_fds), 0);
}

START_TEST(test_write)
{
    char buffer[32];

    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    queue("one", NULL, 0);
    queue("", NULL, 0);
    queue("three", NULL, 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 11);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    ck_assert_int_eq(recv(pair.theirs, buffer, sizeof buffer, 0), 11);
    ck_assert_mem_eq(buffer, "one\0\0three\0", 11);
}
END_TEST

START_TEST(test_write_many)
{
    enum { N = 1000 };
    char text[16];

    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%d", i);
        queue(text, NULL, 0);
    }
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    for (int i = 0; i < N; i++) {
        struct frame frame = {0};
        snprintf(text, sizeof text, "%d", i);
        ck_assert_int_eq(frame_read(pair.reader, pair.theirs, &frame), 1);
        ck_assert_str_eq(frame.text, text);
        frame_done(&frame);
    }
}
END_TEST

START_TEST(test_write_to_nobody)
{
    queue("lost", pair.marked, 1);
    close_marked();
    peer_closes();
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), -EPIPE); /* and no SIGPIPE */
}
END_TEST

START_TEST(test_write_fds)
{
    queue("plain", NULL, 0);
    queue("first", pair.marked, 2);
    queue("plain", NULL, 0);
    queue("second", pair.marked + 1, 1);
    queue("third", pair.marked, 1);
    close_marked();
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(count_open(), pair.n_open + 2); /* the pair alone */
    int swapped = pair.ours;
    pair.ours = pair.theirs;
    pair.theirs = swapped;
    expect("plain");
    expect_marked("first", 1, 2);
    expect("plain");
    expect_marked("second", 2, 1);
    expect_marked("third", 1, 1);
}
END_TEST

START_TEST(test_write_bad_fd)
{
    const int fds[] = {pair.marked[0], -1};

    ck_assert_int_eq(frame_write(pair.writer, copy_of("x"), 1, fds, 2), -EBADF);
    close_marked();
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    queue("next", NULL, 0);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
}
END_TEST

/* If the socket accepts a message in pieces, its descriptors are sent once, with the first byte. */
START_TEST(test_partial_sends)
{
    enum { N_BYTES = 3 << 20 };
    struct frame frame = {0};
    char *text = malloc(N_BYTES + 1);
    uint64_t pending_bytes;
    int r, n_flushes = 0;

    memset(text, 'y', N_BYTES);
    text[N_BYTES] = '\0';
    queue("before", NULL, 0);
    ck_assert_int_eq(frame_write(pair.writer, text, N_BYTES, pair.marked, 1), 0);
    queue("after", pair.marked, 1);
    close_marked();
    pending_bytes = frame_writer_pending_bytes(pair.writer);
    ck_assert_uint_eq(pending_bytes, 7 + N_BYTES + 1 + 6);

    struct frame_reader *reader = frame_reader_new(N_BYTES);
    size_t n_messages = 0;
    do {
        r = frame_flush(pair.writer, pair.ours);
        ck_assert(r == 0 || r == -EAGAIN);
        if (r == -EAGAIN)
            ck_assert_uint_lt(frame_writer_pending_bytes(pair.writer), pending_bytes);
        pending_bytes = frame_writer_pending_bytes(pair.writer);
        n_flushes++;
        int received;
        while ((received = frame_read(reader, pair.theirs, &frame)) == 1) {
            static const size_t lengths[] = {6, N_BYTES, 5}, fds[] = {0, 1, 1};
            ck_assert_uint_eq(frame.n_bytes, lengths[n_messages]);
            ck_assert_uint_eq(frame.n_fds, fds[n_messages]);
            n_messages++;
            frame_done(&frame);
        }
        ck_assert_int_eq(received, -EAGAIN);
    } while (r != 0);
    ck_assert_uint_eq(n_messages, 3);
    ck_assert_int_gt(n_flushes, 2);
    frame_reader_free(reader);
}
END_TEST

START_TEST(test_free_with_pending_output)
{
    queue("never sent", pair.marked, 1);
    queue("nor this", NULL, 0);
    close_marked();
    ck_assert_ptr_null(frame_reader_free(NULL));
    ck_assert_ptr_null(frame_writer_free(NULL));
    frame_done(&(struct frame){0});
}
END_TEST

/* Not all at once, however many messages the peer left unread. */
START_TEST(test_discard_in_portions)
{
    queue("one", pair.marked, 1);
    queue("two", NULL, 0);
    queue("three", NULL, 0);
    close_marked();
    ck_assert(frame_writer_discard(pair.writer, 2));
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), sizeof "three");
    ck_assert(!frame_writer_discard(pair.writer, 2));
    ck_assert(!frame_writer_discard(pair.writer, 2));
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    ck_assert_uint_eq(frame_writer_allocated_bytes(pair.writer), 0);
    queue("four", NULL, 0);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, test_write);
    tcase_add_test(tcase, test_write_many);
    tcase_add_test(tcase, test_write_to_nobody);
    tcase_add_test(tcase, test_write_fds);
    tcase_add_test(tcase, test_write_bad_fd);
    tcase_add_test(tcase, test_partial_sends);
    tcase_add_test(tcase, test_free_with_pending_output);
    tcase_add_test(tcase, test_discard_in_portions);
}

int main(void)
{
    return run_both_ways("frame_writer", add_tests);
}
