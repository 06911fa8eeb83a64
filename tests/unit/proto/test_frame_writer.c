/* Messages that are written: in one go, in pieces, with descriptors, and to nobody. */
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

static char *copy_of(const char *text)
{
    char *copy = strdup(text);
    ck_assert_ptr_nonnull(copy);
    return copy;
}

static void queue(struct pair *pair, const char *text, const int *fds, size_t n_fds)
{
    ck_assert_int_eq(frame_write(pair->writer, copy_of(text), strlen(text), fds, n_fds), 0);
}

START_TEST(test_write)
{
    struct pair pair;
    char buffer[32];

    setup(&pair);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    queue(&pair, "one", NULL, 0);
    queue(&pair, "", NULL, 0);
    queue(&pair, "three", NULL, 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 11);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    ck_assert_int_eq(recv(pair.theirs, buffer, sizeof buffer, 0), 11);
    ck_assert_mem_eq(buffer, "one\0\0three\0", 11);
    teardown(&pair);
}
END_TEST

START_TEST(test_write_many)
{
    enum { N = 1000 };
    struct pair pair;
    char text[16];

    setup(&pair);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%d", i);
        queue(&pair, text, NULL, 0);
    }
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    for (int i = 0; i < N; i++) {
        struct frame frame = {0};
        snprintf(text, sizeof text, "%d", i);
        ck_assert_int_eq(frame_read(pair.reader, pair.theirs, &frame), 1);
        ck_assert_str_eq(frame.text, text);
        frame_done(&frame);
    }
    teardown(&pair);
}
END_TEST

START_TEST(test_write_to_nobody)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    queue(&pair, "lost", &fd, 1);
    close(fd);
    close(pair.theirs);
    pair.theirs = -1;
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), -EPIPE); /* and no SIGPIPE */
    teardown(&pair);
}
END_TEST

START_TEST(test_write_fds)
{
    struct pair pair;
    int fds[2];

    setup(&pair);
    fds[0] = marked_fd(1);
    fds[1] = marked_fd(2);
    queue(&pair, "plain", NULL, 0);
    queue(&pair, "first", fds, 2);
    queue(&pair, "plain", NULL, 0);
    queue(&pair, "second", &fds[1], 1);
    queue(&pair, "third", fds, 1);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(count_open(), pair.n_open + 2); /* the pair alone */
    int swapped = pair.ours;
    pair.ours = pair.theirs;
    pair.theirs = swapped;
    expect(&pair, "plain", 0, 0);
    expect(&pair, "first", 2, 1);
    expect(&pair, "plain", 0, 0);
    expect(&pair, "second", 1, 2);
    expect(&pair, "third", 1, 1);
    teardown(&pair);
}
END_TEST

START_TEST(test_write_bad_fd)
{
    struct pair pair;
    int fds[2];

    setup(&pair);
    fds[0] = marked_fd(1);
    fds[1] = -1;
    ck_assert_int_eq(frame_write(pair.writer, copy_of("x"), 1, fds, 2), -EBADF);
    close(fds[0]);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    queue(&pair, "next", NULL, 0);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    teardown(&pair);
}
END_TEST

/* A message that the socket takes in pieces: its descriptors go once, with the first byte. */
START_TEST(test_partial_sends)
{
    enum { N_BYTES = 3 << 20 };
    struct pair pair;
    struct frame frame = {0};
    char *text = malloc(N_BYTES + 1);
    uint64_t pending_bytes;
    int fd, r, n_flushes = 0;

    setup(&pair);
    fd = marked_fd(5);
    memset(text, 'y', N_BYTES);
    text[N_BYTES] = '\0';
    queue(&pair, "before", NULL, 0);
    ck_assert_int_eq(frame_write(pair.writer, text, N_BYTES, &fd, 1), 0);
    queue(&pair, "after", &fd, 1);
    close(fd);
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
    teardown(&pair);
}
END_TEST

START_TEST(test_free_with_pending_output)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    queue(&pair, "never sent", &fd, 1);
    queue(&pair, "nor this", NULL, 0);
    close(fd);
    teardown(&pair);
    ck_assert_ptr_null(frame_reader_free(NULL));
    ck_assert_ptr_null(frame_writer_free(NULL));
    frame_done(&(struct frame){0});
}
END_TEST

static TCase *frame_tests(const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_write);
    tcase_add_test(tcase, test_write_many);
    tcase_add_test(tcase, test_write_to_nobody);
    tcase_add_test(tcase, test_write_fds);
    tcase_add_test(tcase, test_write_bad_fd);
    tcase_add_test(tcase, test_partial_sends);
    tcase_add_test(tcase, test_free_with_pending_output);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("frame_writer");
    TCase *ahead = frame_tests("read ahead");
    tcase_add_unchecked_fixture(ahead, turn_on_read_ahead, NULL);
    suite_add_tcase(suite, frame_tests("one by one"));
    suite_add_tcase(suite, ahead);
    return run_suite(suite);
}
